// The two kinds of actors of the server: models, which own weights, and the router in front of them.
#ifndef SERVE_ACTORS_H
#define SERVE_ACTORS_H

#include "mlp.h"

#include <manta/manta.h>

enum { MODELS_MOST = 8, BATCH_MOST = 64 };

// ---- training, a plain task -----------------------------------------------------------------------

#define train_PARAMS                                                                               \
    MANTA_IN(float, images), MANTA_IN(uint8_t, labels), MANTA_VAL(int, epochs),                    \
        MANTA_OUT(float, weights, MLP_WEIGHTS)
MANTA_TASK_DECLARE(train);

// ---- a model ----------------------------------------------------------------------------------------

typedef struct model_state {
    const float *weights; // held; on the model's device, if it is on one
} model_state_t;

// Keeps |weights| for its restarts, too.
#define model_PARAMS MANTA_IN(float, weights)
MANTA_ACTOR_DECLARE(model, model_state_t);

// Classifies a batch of images.
#define model_infer_PARAMS                                                                         \
    MANTA_IN(float, images), MANTA_OUT(uint8_t, labels, images.count / MLP_IN)
MANTA_METHOD_DECLARE(model, infer);

// ---- the router -------------------------------------------------------------------------------------

typedef struct fleet {
    model_t models[MODELS_MOST];
    int count;
} fleet_t;

typedef struct request {
    manta_ref_t answer; // a promise, which becomes the result of the call
    int64_t late_ns;    // nobody waits for it any more
    float image[MLP_IN];
} request_t;

typedef struct router_state {
    fleet_t fleet;
    int batch;           // a batch is full with that many
    int64_t patience_ns; // and goes when its oldest request has waited that long
    int next;            // model
    int waiting;
    int64_t oldest_ns;
    request_t requests[BATCH_MOST];
} router_state_t;

#define router_PARAMS                                                                              \
    MANTA_VAL(fleet_t, fleet), MANTA_VAL(int, batch), MANTA_VAL(int64_t, patience_ns)
MANTA_ACTOR_DECLARE(router, router_state_t);

// The answer to one request: what the image shows. Completes when its batch has been through a model.
#define router_classify_PARAMS                                                                     \
    MANTA_IN(float, image), MANTA_VAL(int64_t, late_ns), MANTA_OUT(uint8_t, label, 1)
MANTA_METHOD_DECLARE(router, classify);

// Time passes: sends a batch that has waited long enough.
#define router_tick_PARAMS MANTA_NOTHING
MANTA_METHOD_DECLARE(router, tick);

int64_t serve_now_ns(void);

#endif
