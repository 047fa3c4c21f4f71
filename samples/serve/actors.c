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

static manta_status_t take_weights(manta_task_t *task, model_state_t *self, const float *weights,
                                   size_t count)
{
    if (count != MLP_WEIGHTS) {
        return manta_fail(task, MANTA_ERR_USER, "%zu weights, not %d", count, MLP_WEIGHTS);
    }
    self->weights = weights;
    return manta_actor_hold(task, weights);
}

MANTA_ACTOR(model, model_state_t)
{
    return take_weights(task, self, weights.data, weights.count);
}

MANTA_METHOD(model, infer)
{
    for (size_t i = 0; i < labels.count; i++) {
        if (manta_cancelled(task)) return manta_fail(task, MANTA_ERR_USER, "told to stop");
        labels.data[i] = mlp_classify(self->weights, images.data + i * MLP_IN);
    }
    return MANTA_OK;
}

// The same on a device: weights.data is the device's copy, which stays there.
MANTA_ACTOR_CUDA(model)
{
    return take_weights(task, self, weights.data, weights.count);
}

MANTA_KERNEL(serve_classify, const float *, const float *, uint8_t *, size_t);

MANTA_METHOD_CUDA(model, infer)
{
    return serve_classify_launch(manta_grid_1d(labels.count, 64), self->weights, images.data,
                                 labels.data, labels.count);
}

// What it does on a virtual device.
static void serve_classify_twin(const manta_grid_t *grid, void *const *args)
{
    (void)grid;
    const float *weights = *(const float *const *)args[0];
    const float *images = *(const float *const *)args[1];
    uint8_t *labels = *(uint8_t *const *)args[2];
    size_t count = *(const size_t *)args[3];
    for (size_t i = 0; i < count; i++)
        labels[i] = mlp_classify(weights, images + i * MLP_IN);
}
MANTA_KERNEL_TWIN(serve_classify, serve_classify_twin);

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

// The batch is back: hands the labels out. |why|: there are none.
static void batch_done(batch_t *batch, const uint8_t *labels, manta_status_t why)
{
    for (int i = 0; i < batch->count; i++) {
        if (why == MANTA_OK) {
            (void)manta_promise_set(batch->answers[i], labels + i, 1);
        } else {
            (void)manta_promise_fail(batch->answers[i], why, "the model failed: %s",
                                     manta_status_name(why));
        }
        (void)manta_release(batch->answers[i]);
    }
    free(batch);
}

// A task, so that labels which were made on a device come to the host first; it accepts a failure of theirs.
MANTA_TASK(hand_out, MANTA_IN(uint8_t, labels), MANTA_LOCAL(batch_t *, batch))
{
    batch_done(batch, labels.data, manta_arg_status(task, 0));
    return MANTA_OK;
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
    manta_ref_t labels = model_infer(self->fleet.models[self->next], input);
    self->next = (self->next + 1) % self->fleet.count;
    manta_status_t status =
        hand_out_go_with(MANTA_OPTIONS(.accept_failed = MANTA_ACCEPT_ALL), labels, batch);
    if (status != MANTA_OK) batch_done(batch, NULL, status);
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
