// The smallest actor: a number that three threads count up, and that nobody locks.
#include <manta/manta.h>

#include <pthread.h>
#include <stdio.h>

struct count {
    long value;
};

// The state, and the constructor with its parameters.
MANTA_ACTOR(counter, struct count, MANTA_VAL(long, start))
{
    self->value = start;
    return MANTA_OK;
}

// A method: a task that has the state to itself.
MANTA_METHOD(counter, add, MANTA_VAL(long, by), MANTA_OUT(long, value, 1))
{
    value.data[0] = self->value += by;
    return MANTA_OK;
}

// Called by each thread. Calls don't wait: the results are refs, like a task's.
static void *count_up(void *arg)
{
    counter_t *counter = arg;
    for (int i = 0; i < 1000; i++) {
        if (counter_add_go(*counter, 1) != MANTA_OK) {
            fprintf(stderr, "counter: %s\n", manta_error_message());
            break;
        }
    }
    return NULL;
}

int main(void)
{
    MANTA_SCOPE(); // the handle goes back at the end, and with it the actor
    counter_t counter = counter_create(MANTA_ACTOR_OPTIONS(.name = "clicks"), 0);

    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, count_up, &counter);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);

    long value = 0;
    manta_ref_t last = counter_add(counter, 0);
    if (counter_add_result(last, &value) != MANTA_OK) {
        manta_ref_print_error(last, stderr);
        return 1;
    }
    printf("3 threads counted to %ld\n", value);
    return value == 3000 ? 0 : 1;
}
