// Explores a program as it is, then with each of its memory orders weakened, one at a time.
#ifndef TESTS_MODEL_MUTATE_H
#define TESTS_MODEL_MUTATE_H

#include "model/checker.h"

#include <cstdlib>

#include <gtest/gtest.h>

namespace model
{

// MODEL_SECONDS in the environment: how long one program may take.
inline double seconds_allowed(double otherwise)
{
    const char *text = std::getenv("MODEL_SECONDS");
    return text ? std::atof(text) : otherwise;
}

// The program holds as it is. |whole|: all of its executions are looked at, else as many as there is
// time for.
inline Result expect_holds(const Program &program, bool whole = true)
{
    Limits limits;
    limits.seconds = seconds_allowed(whole ? 100 : 2);
    Result result = explore(program, limits);
    EXPECT_EQ("", result.failure) << result.trace;
    EXPECT_TRUE(result.complete || !whole) << "not all of it: " << result.states << " states";
    EXPECT_GT(result.executions, 0u);
    if (!result.complete) std::printf("    not all executions were looked at\n");
    std::printf("    %llu executions, %llu states, %llu runs\n",
                (unsigned long long)result.executions, (unsigned long long)result.states,
                (unsigned long long)result.runs);
    return result;
}

// What mutations this program notices.
inline std::set<std::string> caught(const Program &program, const std::set<Mutation> &mutations,
                                    double seconds = 20)
{
    std::set<std::string> names;
    for (const Mutation &mutation : mutations) {
        Limits limits;
        limits.seconds = seconds;
        limits.mutation = &mutation;
        Result result = explore(program, limits);
        if (!result.failure.empty()) names.insert(to_string(mutation));
        if (std::getenv("MODEL_VERBOSE")) {
            std::printf("    %-40s %s%s\n", to_string(mutation).c_str(),
                        result.failure.empty() ? "survives" : result.failure.c_str(),
                        result.complete || !result.failure.empty() ? "" : " (not complete)");
        }
    }
    return names;
}

} // namespace model

#endif
