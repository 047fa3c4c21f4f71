#include "model/checker.h"

#include <cstdio>

#include <pthread.h>

#define _Alignas alignas
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {
#include "core/core.h"
}
#pragma GCC diagnostic pop
#undef _Alignas

// A file of its own: the macros of the public headers and those of the runtime do not go together.
namespace model
{

void forget_thread();
void forget_thread()
{
    mti_thread_tls = nullptr;
}

void name_slot(manta_ref_t ref, const char *what);
void name_slot(manta_ref_t ref, const char *what)
{
    static char texts[64][32];
    static size_t used;
    mti_record_t *t = mti_record_of(mti_object_held(ref));
    auto word = [&](const void *at, size_t bytes, const char *field) {
        char *text = texts[used++ % 64];
        std::snprintf(text, sizeof texts[0], "%s%s", what, field);
        name(at, bytes, text);
    };
    word(&t->result.counts, 8, "counts");
    word(&t->result.head, 8, "head");
    word(&t->result.u, 16, "value");
    word(&t->result.size_bits, 8, "size");
    word(&t->result.gen, 4, "gen");
    word(&t->claim, 8, "claim");
    word(&t->deps, 4, "deps");
    word(t->inline_args, sizeof t->inline_args, "args");
}

} // namespace model
