#include "actors.h"

#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

MANTA_METHOD(shop, cc_throw)
{
    if (what == 0) throw std::runtime_error("out of stock");
    if (what == 1) throw 7;
    r[0] = what;
    return MANTA_OK;
}

MANTA_METHOD(shop, cc_scale)
{
    for (double &x : v)
        x *= self->takings;
    return MANTA_OK;
}

// A state that is a class template, and an actor inside a namespace.
namespace in_a_namespace
{
struct Box {
    int numbers[3];
};
MANTA_ACTOR(box, Box, MANTA_VAL(int, n))
{
    self->numbers[1] = n;
    return n < 0 ? throw std::runtime_error("negative") : MANTA_OK;
}
MANTA_ACTOR_END(box)
{
    self->numbers[1] = 0;
}
MANTA_METHOD(box, middle, MANTA_OUT(int, n, 1))
{
    n[0] = self->numbers[1];
    return MANTA_OK;
}
} // namespace in_a_namespace

namespace
{

shop_t open_shop()
{
    double none = 0;
    return shop_new(2, manta_put(&none, sizeof none), nullptr, 0, "cc");
}

class ActorMacrosTest : public ::testing::Test
{
  protected:
    void TearDown() override { EXPECT_EQ(MANTA_OK, manta_shutdown(MANTA_S(50))); }
};

} // namespace

TEST_F(ActorMacrosTest, InC)
{
    EXPECT_EQ(0, actors_in_c());
}

TEST_F(ActorMacrosTest, DeclaredAndDefinedAtOnceInC)
{
    EXPECT_EQ(0, actors_in_c_here());
}

TEST_F(ActorMacrosTest, ExceptionsFailTheCall)
{
    MANTA_SCOPE();
    shop_t shop = open_shop();
    int r = 0;
    EXPECT_EQ(MANTA_ERR_EXCEPTION, shop_cc_throw_result(shop_cc_throw(shop, 0), &r));
    EXPECT_STREQ("out of stock", manta_error_message());
    EXPECT_EQ(MANTA_ERR_EXCEPTION, shop_cc_throw_result(shop_cc_throw(shop, 1), &r));
    EXPECT_EQ(MANTA_OK, shop_cc_throw_result(shop_cc_throw(shop, 5), &r));
    EXPECT_EQ(5, r);
}

TEST_F(ActorMacrosTest, RefsAreTyped)
{
    MANTA_SCOPE();
    shop_t shop = open_shop();
    double x = 21;
    manta::ref<double> v = manta_put(&x, sizeof x);
    v = shop_cc_scale(shop, v);
    static_assert(std::is_same<shop_sell_out_t, manta::ref<double>>::value, "typed");
    double y = 0;
    EXPECT_EQ(MANTA_OK, manta_read(v, &y, sizeof y, MANTA_FOREVER));
    EXPECT_EQ(42, y);
}

TEST_F(ActorMacrosTest, AnExceptionInAConstructorKillsTheActor)
{
    MANTA_SCOPE();
    int n = 0;
    in_a_namespace::box_t good = in_a_namespace::box_new(4), bad = in_a_namespace::box_new(-4);
    EXPECT_EQ(MANTA_OK, in_a_namespace::box_middle_result(in_a_namespace::box_middle(good), &n));
    EXPECT_EQ(4, n);
    EXPECT_EQ(MANTA_ERR_ACTOR_DIED,
              in_a_namespace::box_middle_result(in_a_namespace::box_middle(bad), &n));
}
