// Messages of threads, and error objects.
#include "unit/internals.h"

#include <set>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace
{

TEST(StatusTest, EveryCodeHasItsName)
{
    EXPECT_STREQ("MANTA_OK", manta_status_name(MANTA_OK));
    EXPECT_STREQ("MANTA_ERR_STALE_REF", manta_status_name(MANTA_ERR_STALE_REF));
    EXPECT_STREQ("MANTA_ERR_INTERNAL", manta_status_name(MANTA_ERR_INTERNAL));
    EXPECT_STREQ("MANTA_ERR_USER", manta_status_name(MANTA_ERR_USER));
    EXPECT_STREQ("MANTA_ERR_USER", manta_status_name(MANTA_ERR_USER + 17));
    EXPECT_STREQ("unknown status", manta_status_name(9));
    EXPECT_STREQ("unknown status", manta_status_name(-1));
    std::set<std::string> names;
    int known = 0;
    for (manta_status_t code = 0; code < 100; code++) {
        std::string name = manta_status_name(code);
        if (name == "unknown status") continue;
        known++;
        names.insert(name);
    }
    EXPECT_GE(known, 28);
    EXPECT_EQ((size_t)known, names.size());
}

TEST(StatusTest, MessageIsTheThreadsOwn)
{
    EXPECT_EQ(MANTA_ERR_IO, mti_fail(MANTA_ERR_IO, "file %d", 7));
    EXPECT_STREQ("file 7", manta_error_message());
    std::thread([] {
        EXPECT_STREQ("", manta_error_message());
        (void)mti_fail(MANTA_ERR_IO, "other");
    }).join();
    EXPECT_STREQ("file 7", manta_error_message());
}

TEST(StatusTest, LongMessagesAreCutOff)
{
    std::string text(2000, 'x');
    (void)mti_fail(MANTA_ERR_IO, "%s", text.c_str());
    EXPECT_EQ(text.substr(0, 511), manta_error_message());
    (void)mti_fail_note(MANTA_ERR_IO, "%s", text.c_str());
    EXPECT_EQ(502u, strlen(manta_error_message()));
}

TEST(StatusTest, NotesGoInFront)
{
    (void)mti_fail(MANTA_ERR_IO, "no such file");
    EXPECT_EQ(MANTA_ERR_IO, mti_fail_note(MANTA_ERR_IO, "argument %d", 2));
    EXPECT_STREQ("argument 2: no such file", manta_error_message());
}

TEST(StatusTest, MessageMayBeMadeOfTheOldOne)
{
    (void)mti_fail(MANTA_ERR_IO, "old");
    (void)mti_fail(MANTA_ERR_IO, "<%s>", manta_error_message());
    EXPECT_STREQ("<old>", manta_error_message());
}

TEST(ErrorTest, CarriesWhatItWasMadeWith)
{
    char task[] = "mul", place[] = "worker 3", text[] = "row 7";
    manta_error_t *error =
        mti_error_create(MANTA_ERR_USER + 1, MANTA_SCOPE_DEVICE, task, place, 2, text, nullptr);
    task[0] = place[0] = text[0] = '?';
    EXPECT_EQ(MANTA_ERR_USER + 1, manta_error_code(error));
    EXPECT_EQ(MANTA_SCOPE_DEVICE, manta_error_scope(error));
    EXPECT_STREQ("mul", manta_error_task(error));
    EXPECT_STREQ("worker 3", manta_error_place(error));
    EXPECT_EQ(2, manta_error_attempt(error));
    EXPECT_STREQ("row 7", manta_error_text(error));
    EXPECT_EQ(nullptr, manta_error_cause(error));
    manta_error_release(error);
}

TEST(ErrorTest, NullStringsAreEmpty)
{
    manta_error_t *error =
        mti_error_create(MANTA_ERR_IO, MANTA_SCOPE_TASK, nullptr, nullptr, 0, nullptr, nullptr);
    EXPECT_STREQ("", manta_error_task(error));
    EXPECT_STREQ("", manta_error_place(error));
    EXPECT_STREQ("", manta_error_text(error));
    manta_error_release(error);
}

TEST(ErrorTest, NullErrorIsOk)
{
    EXPECT_EQ(MANTA_OK, manta_error_code(nullptr));
    EXPECT_EQ(MANTA_SCOPE_CALL, manta_error_scope(nullptr));
    EXPECT_STREQ("", manta_error_text(nullptr));
    EXPECT_STREQ("", manta_error_task(nullptr));
    EXPECT_STREQ("", manta_error_place(nullptr));
    EXPECT_EQ(0, manta_error_attempt(nullptr));
    EXPECT_EQ(nullptr, manta_error_cause(nullptr));
    EXPECT_EQ(nullptr, manta_error_retain(nullptr));
    manta_error_release(nullptr);
}

TEST(ErrorTest, CauseLivesAsLongAsWhoNamesIt)
{
    manta_error_t *root =
        mti_error_create(MANTA_ERR_IO, MANTA_SCOPE_TASK, "load", "", 0, "disk", nullptr);
    manta_error_t *outer =
        mti_error_create(MANTA_ERR_IO, MANTA_SCOPE_TASK, "use", "", 0, "argument 0", root);
    manta_error_release(root);
    const manta_error_t *cause = manta_error_retain(manta_error_cause(outer));
    EXPECT_EQ(root, cause);
    manta_error_release(outer);
    EXPECT_STREQ("disk", manta_error_text(cause)); // the count of its own keeps it
    manta_error_release(cause);
}

TEST(ErrorTest, LongChainsAreReleasedWithoutRecursion)
{
    manta_error_t *last = nullptr;
    for (int i = 0; i < 300000; i++) {
        manta_error_t *error =
            mti_error_create(MANTA_ERR_IO, MANTA_SCOPE_TASK, "t", "", 0, "", last);
        manta_error_release(last);
        last = error;
    }
    manta_error_release(last);
}

TEST(ErrorTest, BareErrorsCarryTheCodeAlone)
{
    for (manta_status_t code : {(int)MANTA_ERR_IO, MANTA_ERR_USER + (1 << 30) - 1}) {
        manta_error_t *error = mti_error_bare(code);
        EXPECT_EQ(code, manta_error_code(error));
        EXPECT_EQ(MANTA_SCOPE_TASK, manta_error_scope(error));
        EXPECT_STREQ("", manta_error_text(error));
        EXPECT_STREQ("", manta_error_task(error));
        EXPECT_STREQ("", manta_error_place(error));
        EXPECT_EQ(0, manta_error_attempt(error));
        EXPECT_EQ(nullptr, manta_error_cause(error));
        EXPECT_EQ(error, manta_error_retain(error));
        for (int i = 0; i < 5; i++)
            manta_error_release(error); // any count will do
    }
}

TEST(ErrorTest, BareErrorMayBeACause)
{
    manta_error_t *error = mti_error_create(MANTA_ERR_IO, MANTA_SCOPE_TASK, "t", "", 0, "",
                                            mti_error_bare(MANTA_ERR_CANCELLED));
    EXPECT_EQ(MANTA_ERR_CANCELLED, manta_error_code(manta_error_cause(error)));
    manta_error_release(error);
}

TEST(ErrorTest, WithoutMemoryItIsBareAndTheCauseKeepsItsCount)
{
    manta_error_t *cause =
        mti_error_create(MANTA_ERR_IO, MANTA_SCOPE_TASK, "t", "", 0, "", nullptr);
    {
        FailingAlloc fail(1, kAll);
        manta_error_t *error =
            mti_error_create(MANTA_ERR_CANCELLED, MANTA_SCOPE_TASK, "u", "", 0, "text", cause);
        EXPECT_EQ(mti_error_bare(MANTA_ERR_CANCELLED), error);
        manta_error_release(error);
    }
    manta_error_release(cause); // the last one; LeakSanitizer tells if not
}

} // namespace
