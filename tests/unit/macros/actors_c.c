#include "actors.h"

#include <string.h>

#define CHECK(c)                                                                                   \
    do {                                                                                           \
        if (!(c)) return __LINE__;                                                                 \
    } while (0)

int shops_closed;

MANTA_ACTOR(shop, shop_state_t)
{
    self->takings = opening;
    for (size_t i = 0; i < floats.count; i++)
        self->takings += floats.data[i];
    for (size_t i = 0; i < counts.count; i++)
        self->opened += counts.items[i].data[0];
    self->sign = sign;
    return MANTA_OK;
}

MANTA_ACTOR_END(shop)
{
    if (self->opened == 3) shops_closed++;
}

MANTA_METHOD(shop, sell)
{
    takings.data[0] = self->takings += price;
    return price < 0 ? manta_fail(task, MANTA_ERR_USER, "%s", self->sign) : MANTA_OK;
}

MANTA_METHOD(shop, close)
{
    self->takings = 0;
    return MANTA_OK;
}

MANTA_METHOD(shop, every)
{
    total.data[0] = self->takings + bias.data[0];
    size_t n = 0;
    for (size_t i = 0; i < parts.count; i++)
        joined.data[n++] = parts.items[i].data[0] * (float)scale;
    while (n < joined.count)
        joined.data[n++] = -1;
    counters.data[0]++;
    return MANTA_OK;
}

// Declared and defined at once, with and without a constructor's parameters.
struct lamp {
    int on;
};
MANTA_ACTOR(lamp, struct lamp)
{
    return self->on == 0 ? MANTA_OK : MANTA_ERR_USER;
}
MANTA_METHOD(lamp, flip)
{
    self->on = !self->on;
    return MANTA_OK;
}
MANTA_METHOD(lamp, is_on, MANTA_OUT(int, on, 1))
{
    on.data[0] = self->on;
    return MANTA_OK;
}

int actors_in_c(void)
{
    MANTA_SCOPE();
    double xs[2] = {1, 2};
    int one = 1, two = 2;
    manta_ref_t lists[2] = {manta_put(&one, sizeof one), manta_put(&two, sizeof two)};
    shop_t shop = shop_create(MANTA_ACTOR_OPTIONS(.name = "corner", .max_restarts = 1), 10,
                              manta_put(xs, sizeof xs), lists, 2, "open");
    CHECK(manta_actor_status(shop.actor) == MANTA_OK);
    double takings = 0;
    CHECK(shop_sell_result(shop_sell(shop, 5), &takings) == MANTA_OK && takings == 18);
    CHECK(shop_sell_go(shop, 1) == MANTA_OK);
    CHECK(shop_sell_go_with(shop, MANTA_OPTIONS(.name = "sold"), 1) == MANTA_OK);
    manta_ref_t r = shop_sell_with(shop, MANTA_OPTIONS(.name = "named"), -1);
    CHECK(shop_sell_result(r, &takings) == MANTA_ERR_USER);
    CHECK(strcmp(manta_error_message(), "open") == 0);

    float parts[2] = {1.5f, 2.5f};
    manta_ref_t floats[2] = {manta_put(&parts[0], sizeof(float)),
                             manta_put(&parts[1], sizeof(float))};
    short bias = 3;
    shop_every_out_t out =
        shop_every(shop, floats, 2, manta_put(&one, sizeof one), 2, manta_put(&bias, sizeof bias));
    double total = 0;
    int counter = 0;
    float joined[4] = {0};
    CHECK(manta_read(out.total, &total, sizeof total, MANTA_FOREVER) == MANTA_OK && total == 22);
    CHECK(manta_read(out.counters, &counter, sizeof counter, MANTA_FOREVER) == MANTA_OK);
    CHECK(counter == 2);
    CHECK(manta_read(out.joined, joined, sizeof joined, MANTA_FOREVER) == MANTA_OK);
    CHECK(joined[0] == 3 && joined[1] == 5 && joined[2] == -1 && joined[3] == -1);

    shop_t found = shop_find("corner", NULL);
    CHECK(found.actor.id == shop.actor.id);
    manta_ref_t closed = shop_close(found);
    CHECK(manta_wait(&closed, 1, 1, MANTA_FOREVER, NULL, NULL) == MANTA_OK);
    CHECK(shop_destroy(found) == MANTA_OK && shop_destroy(shop) == MANTA_OK);
    CHECK(shop_destroy(shop) == MANTA_ERR_STALE_REF);
    CHECK(manta_drain(MANTA_FOREVER) == MANTA_OK);
    CHECK(shops_closed == 1);
    return 0;
}

int actors_in_c_here(void)
{
    MANTA_SCOPE();
    lamp_t lamp = lamp_new(), other = lamp_create(MANTA_ACTOR_OPTIONS(.max_concurrency = 1));
    int on = 0;
    CHECK(lamp_flip_go(lamp) == MANTA_OK);
    CHECK(lamp_is_on_result(lamp_is_on(lamp), &on) == MANTA_OK && on == 1);
    CHECK(lamp_is_on_result(lamp_is_on(other), &on) == MANTA_OK && on == 0);
    CHECK(lamp_self(NULL).actor.id == 0);
    return 0;
}
