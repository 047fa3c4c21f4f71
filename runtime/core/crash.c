// Naming the task that takes the process down.
//
// Roles:     manta_crash_report() puts the handler in and takes it out, under |crash.lock|. The handler runs on
//            the thread that crashes, wherever that stands, also inside manta and inside malloc.
// Invariant: the handler calls only what is async-signal-safe, takes no lock, and reads only what its own
//            thread wrote: the bodies on its stack, which keep their records. |before| is written while the
//            handler is not in.
// Progress:  a second fault inside the handler ends the process at once, as the signal is blocked there.
#include "core/actor_impl.h"
#include "core/lane.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { SIGNALS = 5, BODIES_MAX = 8, STACK_BYTES = 64 << 10 };
static const int signals[SIGNALS] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
static const char *const signal_names[SIGNALS] = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE",
                                                  "SIGABRT"};

static struct {
    mti_mutex_t lock;
    struct sigaction before[SIGNALS]; // what was there; written before the handler is put in
    bool is_in;                       // guarded by lock
    bool
        stays[SIGNALS]; // guarded by lock; a later handler is on top, and may hand signals on to us
    mti_atomic_u32_t fd_plus_1; // 0: off
} crash = {.lock = MTI_MUTEX_INIT(MTI_RANK_REGISTRY)};

// ---- text, without the C library ------------------------------------------------------------------

typedef struct text {
    char bytes[512];
    size_t count;
} text_t;

static void text_add(text_t *text, const char *s)
{
    while (*s && text->count < sizeof text->bytes - 1) // room for the end of the line
        text->bytes[text->count++] = *s++;
}

static void text_add_number(text_t *text, uint64_t value, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    text_add(text, digits + at);
}

static void text_write(text_t *text, int fd)
{
    text->bytes[text->count++] = '\n';
    for (size_t done = 0; done < text->count;) {
        ssize_t n = write(fd, text->bytes + done, text->count - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        done += (size_t)n;
    }
}

// ---- the handler ----------------------------------------------------------------------------------

static void add_body(text_t *text, const manta_task_t *run)
{
    const mti_record_t *t = run->record;
    text_add(text, run->actor ? "method '" : "task '");
    text_add(text, mti_record_name(t));
    text_add(text, "'");
    if (run->actor) {
        text_add(text, " of actor '");
        text_add(text, mti_actor_name(run->actor));
        text_add(text, "'");
    }
    int attempt = run->actor ? mti_method_of(t)->attempt : mti_record_attempt(t);
    if (attempt) {
        text_add(text, ", attempt ");
        text_add_number(text, (uint64_t)attempt, 10);
    }
    int device = mti_lane_device_index(run),
        seat = mti_atomic_i32_load_relaxed(&run->ctx->sched.seat);
    if (device >= 0) {
        text_add(text, ", GPU ");
        text_add_number(text, (uint64_t)device, 10);
    } else if (seat >= 0) {
        text_add(text, ", worker ");
        text_add_number(text, (uint64_t)seat, 10);
    } else {
        text_add(text, ", a thread outside the workers");
    }
    text_add(text, ", runtime '");
    text_add(text, run->ctx->rt->name);
    text_add(text, "'");
}

static void report(int fd, int which, const siginfo_t *info, const mti_thread_t *thread)
{
    text_t text = {.count = 0};
    text_add(&text, "manta: ");
    text_add(&text, signal_names[which]);
    if (info->si_code > 0 && signals[which] != SIGABRT) { // the kernel's, with an address
        text_add(&text, " at address 0x");
        text_add_number(&text, (uint64_t)(uintptr_t)info->si_addr, 16);
    }
    if (!thread->task) {
        text_add(&text, " in a callback");
        text_write(&text, fd);
        return;
    }
    text_add(&text, " in ");
    const manta_task_t *run = thread->task;
    add_body(&text, run);
    text_write(&text, fd);
    for (int i = 1; i < BODIES_MAX && (run = run->outer) != NULL; i++) {
        text = (text_t){.count = 0};
        text_add(&text, "manta:   which runs while this waits: ");
        add_body(&text, run);
        text_write(&text, fd);
    }
}

// On to whoever was there before.
static void pass_on(int signal, int which, siginfo_t *info, void *context)
{
    const struct sigaction *before = &crash.before[which];
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(signal, info, context);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(signal);
    } else if (before->sa_handler == SIG_DFL || info->si_code > 0) {
        // As it would have ended without us: the instruction is run again, or the signal is sent again, and
        // comes when this returns. A fault cannot be ignored either.
        struct sigaction none = {.sa_handler = SIG_DFL};
        (void)sigaction(signal, &none, NULL);
        if (info->si_code <= 0) (void)raise(signal);
    }
}

static void crash_handler(int signal, siginfo_t *info, void *context)
{
    int saved = errno, which = 0;
    while (which < SIGNALS - 1 && signals[which] != signal)
        which++;
    const mti_thread_t *thread = mti_thread_tls;
    uint32_t fd_plus_1 = mti_atomic_u32_load_relaxed(&crash.fd_plus_1);
    // relaxed: written by this thread; a descriptor is a number
    if (fd_plus_1 && thread && (thread->task || thread->in_callback)) {
        report((int)fd_plus_1 - 1, which, info, thread);
    }
    errno = saved;
    pass_on(signal, which, info, context);
}

// ---- stacks ---------------------------------------------------------------------------------------

// A body that ran out of stack leaves none for the handler, so threads get one for it, if somebody wants to
// be told. Without memory, or if the thread has one already, nothing happens.
void mti_crash_thread_begin(mti_thread_t *thread)
{
    stack_t now;
    if (MTI_LIKELY(mti_atomic_u32_load_relaxed(&crash.fd_plus_1) == 0)) return;
    if (sigaltstack(NULL, &now) != 0 || !(now.ss_flags & SS_DISABLE)) return;
    thread->crash_stack = mti_alloc(NULL, STACK_BYTES, 64);
    if (!thread->crash_stack) return;
    stack_t mine = {.ss_sp = thread->crash_stack, .ss_size = STACK_BYTES};
    if (sigaltstack(&mine, NULL) == 0) return;
    mti_free(NULL, thread->crash_stack, STACK_BYTES);
    thread->crash_stack = NULL;
}

void mti_crash_thread_end(mti_thread_t *thread)
{
    stack_t now, none = {.ss_flags = SS_DISABLE};
    if (!thread->crash_stack) return;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == thread->crash_stack) {
        (void)sigaltstack(&none, NULL);
    }
    mti_free(NULL, thread->crash_stack, STACK_BYTES);
    thread->crash_stack = NULL;
}

// ---- in and out -----------------------------------------------------------------------------------

// Whether the handler for signal |i| is ours, and on top.
static bool is_on_top(int i, struct sigaction *out_now)
{
    return sigaction(signals[i], NULL, out_now) == 0 && out_now->sa_flags & SA_SIGINFO &&
           out_now->sa_sigaction == crash_handler;
}

static void take_out_locked(int count)
{
    for (int i = 0; i < count; i++) {
        struct sigaction now;
        crash.stays[i] = !is_on_top(i, &now);
        if (!crash.stays[i]) (void)sigaction(signals[i], &crash.before[i], NULL);
    }
}

static manta_status_t put_in_locked(void)
{
    struct sigaction mine = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    mine.sa_sigaction = crash_handler;
    sigemptyset(&mine.sa_mask);
    for (int i = 0; i < SIGNALS; i++) {
        if (crash.stays[i]) continue; // a second time in the chain would be a circle
        if (sigaction(signals[i], NULL, &crash.before[i]) == 0 &&
            sigaction(signals[i], &mine, NULL) == 0) {
            continue;
        }
        int code = errno;
        take_out_locked(i);
        return mti_fail(MANTA_ERR_SYSTEM, "crash_report: sigaction of %s: %s", signal_names[i],
                        strerror(code));
    }
    return MANTA_OK;
}

manta_status_t manta_crash_report(int fd)
{
    manta_status_t status = MANTA_OK;
    mti_mutex_lock(&crash.lock);
    if (fd < 0) {
        mti_atomic_u32_store_relaxed(&crash.fd_plus_1, 0);
        if (crash.is_in) take_out_locked(SIGNALS);
        crash.is_in = false;
    } else {
        if (!crash.is_in) status = put_in_locked();
        if (status == MANTA_OK) {
            crash.is_in = true;
            mti_atomic_u32_store_relaxed(&crash.fd_plus_1, (uint32_t)fd + 1);
        }
    }
    mti_mutex_unlock(&crash.lock);
    mti_thread_t *thread = mti_thread_tls;
    if (thread && !thread->crash_stack) mti_crash_thread_begin(thread);
    return status;
}
