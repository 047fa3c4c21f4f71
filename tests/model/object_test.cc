// Objects: counts, closing, waiting, readiness and cancelling, through the public calls.
#include "model/world.h"

using namespace model;

// Tasks in an anonymous namespace: their calls are declared, and not all of them made.
#pragma GCC diagnostic ignored "-Wunused-function"

namespace
{

manta_ref_t p, q;
int before; // plain: what a closed object publishes besides its value
int ran;    // by the body

Program with(void (*once)(), std::vector<void (*)()> threads, void (*finish)())
{
    Program program;
    program.once = once;
    program.once_thread = know_thread;
    program.threads = std::move(threads);
    program.finish = finish;
    return program;
}

void one_promise()
{
    start_runtime();
    p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    name_slot(p, "");
    before = ran = 0;
}
void one_promise_twice()
{
    one_promise();
    (void)manta_retain(p);
}
void set7()
{
    int seven = 7;
    before = 1;
    MODEL_CHECK(manta_promise_set(p, &seven, sizeof seven) == MANTA_OK);
}
void look()
{
    int value = 0;
    manta_status_t status = manta_read(p, &value, sizeof value, 0);
    MODEL_CHECK(status == MANTA_OK || status == MANTA_NOT_READY);
    if (status == MANTA_OK) MODEL_CHECK(value == 7 && before == 1);
}
// For as good as ever: a wait that registers and sleeps, and does not look for work before.
void wait7()
{
    int value = 0;
    MODEL_CHECK(manta_read(p, &value, sizeof value, MANTA_FOREVER - 1) == MANTA_OK);
    MODEL_CHECK(value == 7 && before == 1);
}
void drop()
{
    MODEL_CHECK(manta_release(p) == MANTA_OK);
}
void nothing_left()
{
    MODEL_CHECK(live_refs() == 0);
}

// ---- values ----

Program set_and_look()
{
    return with(one_promise, {set7, look}, [] { look(); });
}
TEST(ObjectModel, ValueIsThereWhenItIsClosed)
{
    expect_holds(set_and_look());
}

Program set_and_wait()
{
    return with(one_promise, {set7, wait7}, [] { look(); });
}
TEST(ObjectModel, WaiterIsWoken)
{
    expect_holds(set_and_wait(), false);
}

TEST(ObjectModel, TwoWaitersAreWoken)
{
    expect_holds(with(one_promise, {set7, wait7, wait7}, [] { look(); }), false);
}

// ---- counts ----

Program closer_and_releasers()
{
    return with(one_promise_twice,
                {[] {
                     set7();
                     drop();
                 },
                 drop},
                nothing_left);
}
TEST(ObjectModel, LastOneFrees)
{
    expect_holds(closer_and_releasers(), false);
}

Program readers_release()
{
    return with(
        [] {
            start_runtime();
            int seven = 7;
            p = manta_put(&seven, sizeof seven);
            (void)manta_retain(p);
            name_slot(p, "");
            before = 1;
        },
        {[] {
             look();
             drop();
         },
         [] {
             look();
             drop();
         }},
        nothing_left);
}
TEST(ObjectModel, ReadersComeBeforeTheFree)
{
    expect_holds(readers_release());
}

// A release and a use of the same last count: one of them finds the ref stale, or both are fine.
TEST(ObjectModel, UseRacesWithTheLastRelease)
{
    expect_holds(with(
        [] {
            start_runtime();
            int seven = 7;
            p = manta_put(&seven, sizeof seven);
            name_slot(p, "");
        },
        {drop,
         [] {
             manta_ref_t again = manta_retain(p);
             if (again.id == p.id) {
                 MODEL_CHECK(manta_release(again) == MANTA_OK);
             } else {
                 MODEL_CHECK(manta_ref_status(again) == MANTA_ERR_STALE_REF);
             }
         }},
        nothing_left));
}

// ---- stale refs ----

// The first thread gives |p| up and puts something else into the same slot, which comes from its own; the second
// uses |p|, of which it has no count. Whatever that one does, who holds a count of the new object notices nothing.
manta_ref_t fresh;

void know_and_put(int thread)
{
    know_thread(thread);
    if (thread != 0) return;
    int seven = 7;
    p = manta_put(&seven, sizeof seven);
    name_slot(p, "");
}
void put_anew()
{
    int eight = 8;
    manta_status_t status = manta_release(p);
    MODEL_CHECK(status == MANTA_OK || status == MANTA_ERR_STALE_REF); // the other one was faster
    fresh = manta_put(&eight, sizeof eight);
    MODEL_CHECK(manta_retain(fresh).id == fresh.id);
}
void fresh_is_whole()
{
    int value = 0;
    MODEL_CHECK(manta_read(fresh, &value, sizeof value, 0) == MANTA_OK && value == 8);
    MODEL_CHECK(manta_release(fresh) == MANTA_OK);
    MODEL_CHECK(manta_release(fresh) == MANTA_OK);
    nothing_left();
}
// The new object is a promise: with its last count it fails, not before, and not never.
void promise_anew()
{
    (void)manta_release(p);
    fresh = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    MODEL_CHECK(manta_ref_status(fresh) == MANTA_NOT_READY);
    MODEL_CHECK(manta_release(fresh) == MANTA_OK);
}

void release_stale()
{
    (void)manta_release(p);
}
void retain_stale()
{
    manta_ref_t again = manta_retain(p);
    if (again.id == p.id) (void)manta_release(again);
}
Program stale_use(void (*anew)(), void (*use)(), void (*finish)())
{
    Program program = with(start_runtime, {anew, use}, finish);
    program.once_thread = know_and_put;
    return program;
}
TEST(ObjectModel, AStaleReleaseTakesNothingFromAStranger)
{
    expect_holds(stale_use(put_anew, release_stale, fresh_is_whole));
}
TEST(ObjectModel, AStaleRetainLeavesNothingOnAStranger)
{
    expect_holds(stale_use(put_anew, retain_stale, fresh_is_whole));
}
TEST(ObjectModel, AStaleUseKeepsNoPromiseOpen)
{
    expect_holds(stale_use(promise_anew, release_stale, nothing_left));
    expect_holds(stale_use(promise_anew, retain_stale, nothing_left), false);
}

// ---- promises ----

// There is no memory for the value, so nothing happens; the last ref goes meanwhile: it fails all the same.
manta_status_t told;
void no_memory()
{
    start_runtime();
    told = MANTA_OK;
    p = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    name_slot(p, "");
    MODEL_CHECK(manta_on_ready(
                    p, [](manta_ref_t, manta_status_t status, void *) { told = status; },
                    nullptr) == MANTA_OK);
}
TEST(ObjectModel, NoMemoryForAPromiseRacesWithTheRelease)
{
    expect_holds(with(no_memory,
                      {[] {
                           manta_status_t status =
                               manta_promise_set(p, "", (size_t)1 << 46); // more than there ever is
                           MODEL_CHECK(status == MANTA_ERR_OUT_OF_MEMORY ||
                                       status == MANTA_ERR_STALE_REF);
                       },
                       drop},
                      [] {
                          MODEL_CHECK(manta_drain(MANTA_FOREVER) == MANTA_OK);
                          MODEL_CHECK(told == MANTA_ERR_ABANDONED);
                          nothing_left();
                      }));
}

// ---- readiness ----

MANTA_TASK(add_one, MANTA_IN(int, x), MANTA_OUT(int, y, 1))
{
    ran++;
    y.data[0] = x.data[0] + 1;
    return MANTA_OK;
}

manta_ref_t made;
void result_is_8()
{
    int value = 0;
    MODEL_CHECK(manta_read(made, &value, sizeof value, MANTA_FOREVER) == MANTA_OK);
    MODEL_CHECK(value == 8 && ran == 1);
    MODEL_CHECK(manta_release(made) == MANTA_OK);
    MODEL_CHECK(manta_release(p) == MANTA_OK);
    nothing_left();
}

// A task links itself into an object that closes meanwhile: it becomes ready exactly once.
Program link_and_close()
{
    return with(one_promise, {set7, [] { made = add_one_remote(p); }}, result_is_8);
}
TEST(ObjectModel, LinkRacesWithClose)
{
    expect_holds(link_and_close());
}

void two_promises()
{
    one_promise();
    q = manta_promise_create(MANTA_DTYPE(MANTA_I32, 4));
    name_slot(q, "second ");
}
MANTA_TASK(add_both, MANTA_IN(int, x), MANTA_IN(int, y), MANTA_OUT(int, sum, 1))
{
    ran++;
    sum.data[0] = x.data[0] + y.data[0];
    return MANTA_OK;
}

// The task is there already; both of its arguments close at the same time, and somebody waits for it.
Program two_arguments()
{
    return with(
        [] {
            two_promises();
            made = add_both_remote(p, q);
            name_slot(made, "task ");
        },
        {set7,
         [] {
             int one = 1;
             MODEL_CHECK(manta_promise_set(q, &one, sizeof one) == MANTA_OK);
         }},
        [] {
            MODEL_CHECK(manta_release(q) == MANTA_OK);
            result_is_8();
        });
}
TEST(ObjectModel, LastArgumentMakesItReady)
{
    expect_holds(two_arguments());
}

// ---- cancelling ----

void one_task()
{
    one_promise();
    (void)set7();
    made = add_one_remote(p);
    name_slot(made, "task ");
}

Program cancel_and_get()
{
    return with(one_task,
                {[] { (void)manta_cancel(made); },
                 [] {
                     int value = 0;
                     manta_status_t status = manta_read(made, &value, sizeof value, MANTA_FOREVER);
                     MODEL_CHECK(status == MANTA_OK || status == MANTA_ERR_CANCELLED);
                     if (status == MANTA_OK) MODEL_CHECK(value == 8);
                 }},
                [] {
                    MODEL_CHECK(manta_release(made) == MANTA_OK);
                    MODEL_CHECK(manta_release(p) == MANTA_OK);
                    MODEL_CHECK(manta_drain(MANTA_FOREVER) == MANTA_OK);
                    nothing_left();
                });
}
TEST(ObjectModel, CancelRacesWithTheRun)
{
    expect_holds(cancel_and_get(), false);
}

TEST(ObjectModel, CancelRacesWithTheArgument)
{
    expect_holds(with(
        [] {
            one_promise();
            made = add_one_remote(p);
            name_slot(made, "task ");
        },
        {set7, [] { (void)manta_cancel(made); }},
        [] {
            int value = 0;
            manta_status_t status = manta_read(made, &value, sizeof value, MANTA_FOREVER);
            MODEL_CHECK(status == MANTA_OK || status == MANTA_ERR_CANCELLED);
            MODEL_CHECK(manta_release(made) == MANTA_OK);
            MODEL_CHECK(manta_release(p) == MANTA_OK);
            MODEL_CHECK(manta_drain(MANTA_FOREVER) == MANTA_OK);
            nothing_left();
        }));
}

// pin_open: a failing argument closes a dependent whose last count goes at the same time.
TEST(ObjectModel, FailureRacesWithTheRelease)
{
    expect_holds(with(
        [] {
            one_promise();
            made = add_one_remote(p);
            name_slot(made, "task ");
        },
        {[] { MODEL_CHECK(manta_promise_fail(p, MANTA_ERR_USER, "no") == MANTA_OK); },
         [] { MODEL_CHECK(manta_release(made) == MANTA_OK); }},
        [] {
            MODEL_CHECK(manta_release(p) == MANTA_OK);
            MODEL_CHECK(manta_drain(MANTA_FOREVER) == MANTA_OK);
            nothing_left();
        }));
}

TEST(ObjectModel, ForwardRacesWithTheRelease)
{
    expect_holds(with(
        [] {
            two_promises();
            MODEL_CHECK(manta_promise_forward(q, p) == MANTA_OK);
        },
        {set7, [] { MODEL_CHECK(manta_release(q) == MANTA_OK); }},
        [] {
            MODEL_CHECK(manta_release(p) == MANTA_OK);
            nothing_left();
        }));
}

// ---- being told ----

manta_cq_t queue;

TEST(ObjectModel, CompletionQueueIsWoken)
{
    expect_holds(with(
                     [] {
                         one_promise();
                         MODEL_CHECK(manta_cq_create(&queue) == MANTA_OK);
                         MODEL_CHECK(manta_cq_add(queue, p, 5) == MANTA_OK);
                     },
                     {set7,
                      [] {
                          manta_cq_entry_t entry;
                          size_t count = 0;
                          MODEL_CHECK(manta_cq_next(queue, &entry, 1, &count, MANTA_FOREVER) ==
                                      MANTA_OK);
                          MODEL_CHECK(count == 1 && entry.tag == 5 && entry.status == MANTA_OK);
                      }},
                     nullptr),
                 false);
}

TEST(ObjectModel, QueueTakesWhatClosesMeanwhile)
{
    expect_holds(with(
                     [] {
                         one_promise();
                         MODEL_CHECK(manta_cq_create(&queue) == MANTA_OK);
                     },
                     {set7, [] { MODEL_CHECK(manta_cq_add(queue, p, 5) == MANTA_OK); }},
                     [] {
                         manta_cq_entry_t entry;
                         size_t count = 0;
                         MODEL_CHECK(manta_cq_next(queue, &entry, 1, &count, 0) == MANTA_OK);
                         MODEL_CHECK(count == 1 && entry.tag == 5);
                     }),
                 false);
}

// ---- orders ----

TEST(ObjectModel, NeedsItsOrders)
{
    std::set<std::string> seen;
    for (auto make_program : {set_and_look, readers_release, link_and_close, two_arguments}) {
        Program program = make_program();
        std::set<Mutation> mutations = explore(program).mutations;
        for (const std::string &text : caught(program, mutations, 1))
            seen.insert(text);
    }
    for (const char *what : {"rmw of counts", "rmw of head", "rmw of claim", "rmw of task deps"}) {
        EXPECT_TRUE(seen.count(std::string(what) + " without release")) << what;
    }
    EXPECT_TRUE(seen.count("load of head without acquire"));
    EXPECT_TRUE(seen.count("rmw of head without acquire"));
    EXPECT_TRUE(seen.count("rmw of task deps without acquire"));
}

} // namespace
