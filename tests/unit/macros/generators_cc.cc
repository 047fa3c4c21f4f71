#include "generators.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

struct ticks_state {
    double next = -0.5; // no assignment from outside
};
MANTA_GENERATOR(cc_ticks, ticks_state)
{
    EXPECT_EQ(MANTA_OK, manta_out_resize(t, 1));
    t[0] = self->next += 0.5;
    return MANTA_OK;
}

// A state with constructor and destructor, types without a default constructor, inside a namespace.
namespace in_a_namespace
{
std::atomic<int> alive{0};
struct Limit {
    explicit Limit(int n) : value(n) {}
    int value;
};
struct Words {
    Words() { alive++; }
    ~Words() { alive--; }
    std::vector<std::string> seen{"first"};
};
MANTA_GENERATOR(words, Words, MANTA_VAL(Limit, limit), MANTA_IN(char, text),
                MANTA_OUT(char, word, text.count))
{
    if (self->seen.size() > (size_t)limit.value) throw std::runtime_error(self->seen.back());
    for (size_t i = 0; i < word.count; i++)
        word[i] = (char)(text[i] + (int)self->seen.size() - 1);
    self->seen.emplace_back("a string that is too long for the small ones");
    return MANTA_OK;
}
MANTA_GENERATOR_END(words)
{
    EXPECT_FALSE(self->seen.empty());
}

struct Never {
    Never() { throw std::runtime_error("no state today"); }
};
MANTA_GENERATOR(never, Never, MANTA_OUT(int, n, 1))
{
    n[0] = 0;
    return MANTA_OK;
}
} // namespace in_a_namespace
using namespace in_a_namespace;

// A generator that feeds another's step is only a ref.
MANTA_TASK(gm_letters, MANTA_VAL(char, c), MANTA_OUT(char, text, 2))
{
    text[0] = text[1] = c;
    return MANTA_OK;
}

namespace
{

class GeneratorMacrosTest : public ::testing::TestWithParam<int>
{
  protected:
    void SetUp() override
    {
        manta_runtime_options_t options;
        manta_runtime_options_init(&options);
        options.workers = GetParam();
        ASSERT_EQ(MANTA_OK, manta_init(&options));
    }
    void TearDown() override { EXPECT_EQ(MANTA_OK, manta_shutdown(MANTA_S(50))); }
};

} // namespace

TEST_P(GeneratorMacrosTest, InC)
{
    EXPECT_EQ(0, generators_in_c());
}

TEST_P(GeneratorMacrosTest, InCDeclaredAndDefinedAtOnce)
{
    EXPECT_EQ(0, generators_in_c_here());
}

TEST_P(GeneratorMacrosTest, FailuresSayWhatWasWrong)
{
    EXPECT_EQ(0, generators_in_c_fail());
}

TEST_P(GeneratorMacrosTest, StatesAreMadeAndDestroyed)
{
    for (uint32_t run_ahead : {0u, 5u}) {
        MANTA_SCOPE();
        manta::ref<char> text = gm_letters_remote('a'); // maybe not there yet
        words_t words = words_with(MANTA_GENERATOR_OPTIONS(.run_ahead = run_ahead), Limit(3), text);
        ASSERT_EQ(MANTA_OK, words.status);
        for (char first : {'a', 'b', 'c'}) {
            manta::ref<char> word;
            char letters[2] = {};
            ASSERT_EQ(MANTA_OK, words_next(words, &word, MANTA_FOREVER));
            ASSERT_EQ(MANTA_OK, manta_read(word, letters, sizeof letters, MANTA_FOREVER));
            EXPECT_EQ(first, letters[0]);
            EXPECT_EQ(first, letters[1]);
        }
        char letter = 0;
        EXPECT_EQ(MANTA_ERR_EXCEPTION, words_next_value(words, &letter));
        EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("a string that is"));
        EXPECT_EQ(MANTA_ERR_END, words_next_value(words, &letter));
        EXPECT_EQ(1, alive.load());
        EXPECT_EQ(MANTA_OK, words_destroy(words));
        EXPECT_EQ(MANTA_OK, manta_drain(MANTA_FOREVER));
        EXPECT_EQ(0, alive.load());
    }
}

TEST_P(GeneratorMacrosTest, ReleasedBeforeItsEnd)
{
    MANTA_SCOPE();
    words_t words = words_with(MANTA_GENERATOR_OPTIONS(.run_ahead = 2, .step.max_retries = 1),
                               Limit(100), gm_letters_remote('x'));
    char letter = 0;
    manta::ref<char> word;
    EXPECT_EQ(MANTA_OK, words_next(words, &word, MANTA_FOREVER));
    EXPECT_EQ(MANTA_OK, words_destroy(words));
    EXPECT_EQ(MANTA_OK, manta_drain(MANTA_FOREVER));
    EXPECT_EQ(0, alive.load());
    EXPECT_EQ(MANTA_ERR_STALE_REF, words_next_value(words, &letter));
    char letters[2] = {};
    EXPECT_EQ(MANTA_OK, manta_read(word, letters, sizeof letters, MANTA_FOREVER)) << "stays";
}

TEST_P(GeneratorMacrosTest, AStateThatCannotBeMade)
{
    never_t never = never_remote();
    EXPECT_EQ(MANTA_ERR_EXCEPTION, never.status);
    EXPECT_STREQ("no state today", manta_error_message());
    int n;
    EXPECT_EQ(never.status, never_next_value(never, &n));
}

TEST_P(GeneratorMacrosTest, DifferentParametersAreRefused)
{
    manta_generator_t generator = {7};
    char image[1] = {};
    EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT,
              mti_cc_ticks_start(nullptr, image, sizeof image, &generator));
    EXPECT_EQ(MANTA_ERR_INVALID_ARGUMENT, mti_walk_start(nullptr, image, sizeof image, &generator));
    EXPECT_NE(std::string::npos, std::string(manta_error_message()).find("generator walk"));
    EXPECT_EQ(7u, generator.id);
}

INSTANTIATE_TEST_SUITE_P(Workers, GeneratorMacrosTest, ::testing::Values(0, 1, 3)); // 0: serial
