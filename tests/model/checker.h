// A model checker for the lock-free parts, under the C11 memory model (RC11, without load buffering).
//
// The code under test is the runtime itself: its .c files are compiled with -fsanitize=thread, and
// checker.cc stands in for ThreadSanitizer's library. So every atomic access comes here with the order
// that the compiler saw, and every plain access is checked for races. A program is a few functions,
// each run as a thread on a stack of its own; the checker runs them again and again, until every
// choice was taken: who goes next, which store a load reads, where in the order of its location a
// store goes. Two ways that lead to the same graph (what each thread did, what it read, the order of
// stores of each location) are followed once.
//
// See README.md for what is exhaustive and what is not.
#ifndef TESTS_MODEL_CHECKER_H
#define TESTS_MODEL_CHECKER_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace model
{

enum { kMaxThreads = 4 };

enum class Op { kLoad, kStore, kRmw, kFence };
// What a mutation takes away from an order.
enum class Drop { kAcquire, kRelease, kSeqCst };

// Weakens all accesses of one kind to the locations of one name.
struct Mutation {
    Op op;
    std::string name;
    Drop drop;
    bool operator<(const Mutation &other) const
    {
        if (op != other.op) return op < other.op;
        if (drop != other.drop) return drop < other.drop;
        return name < other.name;
    }
};
std::string to_string(const Mutation &mutation);

struct Program {
    // Once, before everything: its effects stay.
    void (*once)() = nullptr;
    // Once for each thread, with that thread's thread-local variables.
    void (*once_thread)(int index) = nullptr;
    // Before each execution; happens before all threads.
    void (*setup)() = nullptr;
    std::vector<void (*)()> threads;
    // After each execution that came to its end; happens after all threads.
    void (*finish)() = nullptr;
};

struct Limits {
    uint64_t states = 20'000'000;
    double seconds = 60;
    const Mutation *mutation = nullptr;
};

struct Result {
    bool complete = false;   // every choice was taken
    uint64_t executions = 0; // that came to their end
    uint64_t runs = 0, states = 0;
    std::string failure; // the first one; empty: none
    std::string trace;   // how it came to it
    std::set<std::string> outcomes;
    std::set<Mutation> mutations; // orders that were met and can be weakened
};

Result explore(const Program &program, const Limits &limits = Limits());

// For programs:
// Fails the execution.
void fail(const char *file, int line, const char *what);
#define MODEL_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) ::model::fail(__FILE__, __LINE__, #condition);                           \
    } while (0)
// From finish: one of the ways in which the program may end.
void outcome(const std::string &what);
// What to call the |bytes| at |at| in traces and mutations. Valid for the next explore().
void name(const void *at, size_t bytes, const char *what);
// For polling: goes on when another thread has stored something, and sees that.
void pause();
int self();

} // namespace model

#endif
