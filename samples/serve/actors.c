#include "actors.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t serve_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

MANTA_TASK(train)
{
    mlp_train(images.data, labels.data, labels.count, epochs, weights.data);
    return MANTA_OK;
}

// ---- models ---------------------------------------------------------------------------------------

MANTA_ACTOR(model, model_state_t)
{
    if (weights.count != MLP_WEIGHTS) {
        return manta_fail(task, MANTA_ERR_USER, "%zu weights, not %d", weights.count, MLP_WEIGHTS);
    }
    memcpy(self->weights, weights.data, sizeof self->weights);
    return MANTA_OK;
}

MANTA_METHOD(model, infer)
{
    for (size_t i = 0; i < labels.count; i++) {
        if (manta_cancelled(task)) return manta_fail(task, MANTA_ERR_USER, "told to stop");
        labels.data[i] = mlp_classify(self->weights, images.data + i * MLP_IN);
    }
    return MANTA_OK;
}

// ---- the router -----------------------------------------------------------------------------------

MANTA_ACTOR(router, router_state_t)
{
    self->fleet = fleet;
    self->batch = batch;
    self->patience_ns = patience_ns;
    return MANTA_OK;
}

// Requests that are on their way through a model.
typedef struct batch {
    int count;
    manta_ref_t answers[BATCH_MOST];
} batch_t;

// The batch is back: hands the labels out. Runs as a small task; the labels are there.
static void batch_done(manta_ref_t labels, manta_status_t status, void *user)
{
    batch_t *batch = user;
    manta_view_t view = {0};
    if (status == MANTA_OK) status = manta_get(labels, &view, 0);
    for (int i = 0; i < batch->count; i++) {
        if (status == MANTA_OK) {
            (void)manta_promise_set(batch->answers[i], (const uint8_t *)view.data + i, 1);
        } else {
            (void)manta_promise_fail(batch->answers[i], status, "the model failed: %s",
                                     manta_status_name(status));
        }
        (void)manta_release(batch->answers[i]);
    }
    manta_view_release(&view);
    (void)manta_release(labels);
    free(batch);
}

static void answer_with_failure(request_t *request, manta_status_t code, const char *why)
{
    (void)manta_promise_fail(request->answer, code, "%s", why);
    (void)manta_release(request->answer);
}

// Sends what waits to the next model.
static void router_send(router_state_t *self)
{
    float images[BATCH_MOST * MLP_IN];
    batch_t *batch = malloc(sizeof *batch);
    int64_t now = serve_now_ns();
    int count = 0;
    for (int i = 0; i < self->waiting; i++) {
        request_t *request = &self->requests[i];
        if (!batch) {
            answer_with_failure(request, MANTA_ERR_OUT_OF_MEMORY, "no memory for a batch");
        } else if (request->late_ns < now) {
            answer_with_failure(request, MANTA_ERR_TIMEOUT, "late before it was looked at");
        } else {
            memcpy(images + (size_t)count * MLP_IN, request->image, sizeof request->image);
            batch->answers[count++] = request->answer;
        }
    }
    self->waiting = 0;
    if (count == 0) {
        free(batch);
        return;
    }
    batch->count = count;
    manta_ref_t input = manta_put(images, (size_t)count * MLP_IN * sizeof *images);
    manta_ref_t labels = manta_keep(model_infer(self->fleet.models[self->next], input));
    self->next = (self->next + 1) % self->fleet.count;
    manta_status_t status = manta_on_ready(labels, batch_done, batch);
    if (status != MANTA_OK) batch_done(labels, status, batch);
}

MANTA_METHOD(router, classify)
{
    (void)label;
    if (image.count != MLP_IN) {
        return manta_fail(task, MANTA_ERR_USER, "an image of %zu pixels", image.count);
    }
    // The result comes later: this call is over when the promise is kept.
    manta_ref_t answer = manta_method_defer(task);
    manta_status_t status = manta_ref_status(answer);
    if (status != MANTA_NOT_READY) return status;
    if (self->waiting == 0) self->oldest_ns = serve_now_ns();
    request_t *request = &self->requests[self->waiting++];
    request->answer = answer;
    request->late_ns = late_ns;
    memcpy(request->image, image.data, sizeof request->image);
    if (self->waiting == self->batch) router_send(self);
    return MANTA_OK;
}

MANTA_METHOD(router, tick)
{
    bool due = self->waiting > 0 && serve_now_ns() - self->oldest_ns >= self->patience_ns;
    if (due) router_send(self);
    return MANTA_OK;
}

MANTA_ACTOR_END(router)
{
    for (int i = 0; i < self->waiting; i++)
        answer_with_failure(&self->requests[i], MANTA_ERR_SHUTDOWN, "the server is closing");
}
