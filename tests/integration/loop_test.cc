// The completion queue's descriptor in event loops: epoll, level and edge, and libuv.
#include "support/runtime_fixture.h"

#include <thread>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#if MANTA_HAVE_LIBUV
#include <uv.h>
#endif

using namespace manta_testing;

class LoopTest : public RuntimeTest
{
};
MANTA_TEST_WORKERS(LoopTest);

MANTA_TASK(lo_next, MANTA_VAL(int, x), MANTA_OUT(int, y, 1))
{
    y[0] = x + 1;
    return MANTA_OK;
}

namespace
{

class Descriptor
{
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() { close(fd_); }
    Descriptor(const Descriptor &) = delete;
    operator int() const { return fd_; }

  private:
    int fd_;
};

constexpr int kRequests = 64, kSteps = 20;

// Requests of several steps each, all under way at once; the tag says which one and how far it is.
class Requests
{
  public:
    Requests()
    {
        EXPECT_OK(manta_cq_create(&cq_));
        for (int i = 0; i < kRequests; i++)
            step(i, 0);
    }
    ~Requests() { EXPECT_OK(manta_cq_destroy(cq_)); }
    int fd() const { return manta_cq_fd(cq_); }
    bool done() const { return done_ == kRequests; }
    // Takes what is there, and starts the next steps. Never waits.
    void take()
    {
        manta_cq_entry_t entries[9];
        size_t count = 0;
        while (manta_cq_next(cq_, entries, 9, &count, 0) == MANTA_OK) {
            for (size_t i = 0; i < count; i++) {
                int request = (int)(entries[i].tag / 1000), at = (int)(entries[i].tag % 1000);
                EXPECT_OK(entries[i].status);
                EXPECT_EQ(at + 1, value_of<int>(refs_[request])) << "request " << request;
                EXPECT_EQ(refs_[request].id, entries[i].ref.id);
                EXPECT_OK(manta_release(refs_[request]));
                if (at + 1 < kSteps) {
                    step(request, at + 1);
                } else {
                    done_++;
                }
            }
        }
    }

  private:
    void step(int request, int at)
    {
        refs_[request] = lo_next_remote(at);
        EXPECT_OK(manta_cq_add(cq_, refs_[request], (uint64_t)(request * 1000 + at)));
    }
    manta_cq_t cq_ = {};
    manta_ref_t refs_[kRequests] = {};
    int done_ = 0;
};

void epoll_loop(uint32_t events)
{
    Requests requests;
    Descriptor poller(epoll_create1(0));
    struct epoll_event event = {};
    event.events = events;
    ASSERT_EQ(0, epoll_ctl(poller, EPOLL_CTL_ADD, requests.fd(), &event));
    while (!requests.done()) {
        struct epoll_event ready = {};
        ASSERT_EQ(1, epoll_wait(poller, &ready, 1, 60000)) << "an edge was lost";
        requests.take();
    }
    struct epoll_event ready = {};
    EXPECT_EQ(0, epoll_wait(poller, &ready, 1, 0)) << "empty again";
}

} // namespace

TEST_P(LoopTest, Epoll)
{
    SKIP_IF_SERIAL();
    epoll_loop(EPOLLIN);
}

TEST_P(LoopTest, EpollAtEdges)
{
    SKIP_IF_SERIAL();
    epoll_loop(EPOLLIN | EPOLLET);
}

TEST_P(LoopTest, QueuesAndOtherDescriptorsInOneEpoll)
{
    SKIP_IF_SERIAL();
    Requests a, b;
    Descriptor poller(epoll_create1(0)), other(eventfd(0, EFD_NONBLOCK));
    int fds[] = {a.fd(), b.fd(), other};
    for (uint32_t i = 0; i < 3; i++) {
        struct epoll_event event = {};
        event.events = EPOLLIN;
        event.data.u32 = i;
        ASSERT_EQ(0, epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &event));
    }
    std::thread rings([&] {
        uint64_t one = 1;
        for (int i = 0; i < 10; i++)
            EXPECT_EQ((ssize_t)sizeof one, write(other, &one, sizeof one));
    });
    uint64_t rung = 0;
    while (!a.done() || !b.done() || rung < 10) {
        struct epoll_event ready[3];
        int n = epoll_wait(poller, ready, 3, 60000);
        ASSERT_GE(n, 1);
        for (int i = 0; i < n; i++) {
            uint64_t times = 0;
            if (ready[i].data.u32 == 0) a.take();
            if (ready[i].data.u32 == 1) b.take();
            if (ready[i].data.u32 == 2 && read(other, &times, sizeof times) > 0) rung += times;
        }
    }
    rings.join();
}

TEST(LoopShutdown, WakesALoop)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.workers = 1;
    ASSERT_OK(manta_init(&options));
    manta_cq_t cq;
    ASSERT_OK(manta_cq_create(&cq));
    manta_ref_t never = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    ASSERT_OK(manta_cq_add(cq, never, 7));
    Descriptor poller(epoll_create1(0));
    struct epoll_event event = {}, ready = {};
    event.events = EPOLLIN;
    ASSERT_EQ(0, epoll_ctl(poller, EPOLL_CTL_ADD, manta_cq_fd(cq), &event));
    std::thread other([&] { EXPECT_OK(manta_shutdown(MANTA_S(60))); });
    ASSERT_EQ(1, epoll_wait(poller, &ready, 1, 60000));
    manta_cq_entry_t entry;
    size_t count = 0;
    manta_status_t status = manta_cq_next(cq, &entry, 1, &count, 0);
    EXPECT_TRUE(status == MANTA_OK || status == MANTA_ERR_SHUTDOWN || status == MANTA_ERR_STALE_REF)
        << status;
    if (status == MANTA_OK) {
        EXPECT_STATUS(MANTA_ERR_SHUTDOWN, entry.status);
    }
    other.join();
    (void)manta_cq_destroy(cq);
}

#if MANTA_HAVE_LIBUV

struct uv_world {
    Requests requests;
    uv_poll_t poll;
    uv_timer_t timer;
    int ticks = 0;
};

TEST_P(LoopTest, Libuv)
{
    SKIP_IF_SERIAL();
    uv_loop_t loop;
    ASSERT_EQ(0, uv_loop_init(&loop));
    uv_world world;
    world.poll.data = world.timer.data = &world;
    ASSERT_EQ(0, uv_poll_init(&loop, &world.poll, world.requests.fd()));
    ASSERT_EQ(0, uv_timer_init(&loop, &world.timer));
    ASSERT_EQ(0, uv_timer_start(
                     &world.timer,
                     [](uv_timer_t *timer) {
                         auto *w = static_cast<uv_world *>(timer->data);
                         w->ticks++; // the loop's own life goes on
                         if (!w->requests.done()) return;
                         uv_close(reinterpret_cast<uv_handle_t *>(&w->timer), nullptr);
                     },
                     0, 1));
    ASSERT_EQ(0, uv_poll_start(&world.poll, UV_READABLE, [](uv_poll_t *poll, int status, int) {
                  auto *w = static_cast<uv_world *>(poll->data);
                  EXPECT_EQ(0, status);
                  w->requests.take();
                  if (!w->requests.done()) return;
                  EXPECT_EQ(0, uv_poll_stop(poll));
                  uv_close(reinterpret_cast<uv_handle_t *>(poll), nullptr);
              }));
    EXPECT_EQ(0, uv_run(&loop, UV_RUN_DEFAULT));
    EXPECT_TRUE(world.requests.done());
    EXPECT_GT(world.ticks, 0);
    EXPECT_EQ(0, uv_loop_close(&loop));
}

#endif
