// An inference server in one process: models are actors that own weights, a router batches requests,
// clients send handwritten digits. One model is killed on the way; nothing may get lost.
#include "actors.h"
#include "samples/digits/data.h"

#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WINDOW = 32, CLIENTS_MOST = 64 };

typedef struct options {
    int models, clients, batch, epochs;
    bool gpus;     // models live on devices
    int sim;       // that many virtual ones, 0: what there is
    long requests; // of each client
    int64_t patience_ns, late_ns;
    const char *data, *json;
} options_t;

// What one client has seen.
typedef struct client {
    pthread_t thread;
    const options_t *options;
    const digits_set_t *test;
    router_t router;
    int index;
    long right, answered, late, lost;
    double *latencies_us; // of those answered
} client_t;

// ---- clients ----------------------------------------------------------------------------------------

typedef struct sent {
    manta_ref_t answer;
    int64_t at_ns;
    uint8_t label;
} sent_t;

// Waits for one answer until it is late; then cancels it.
static void client_receive(client_t *client, sent_t *sent)
{
    uint8_t label = 0;
    int64_t left = sent->at_ns + client->options->late_ns - serve_now_ns();
    manta_status_t status = manta_read(sent->answer, &label, 1, left > 0 ? left : 0);
    if (status == MANTA_OK) {
        client->latencies_us[client->answered++] = (double)(serve_now_ns() - sent->at_ns) / 1000.0;
        client->right += label == sent->label;
    } else if (status == MANTA_NOT_READY || status == MANTA_ERR_TIMEOUT) {
        (void)manta_cancel(sent->answer);
        client->late++;
    } else {
        manta_ref_print_error(sent->answer, stderr);
        client->lost++;
    }
    (void)manta_release(sent->answer);
}

// Keeps up to WINDOW requests on their way.
static void *client_main(void *arg)
{
    client_t *client = arg;
    const digits_set_t *test = client->test;
    sent_t window[WINDOW];
    long sent = 0, received = 0;
    while (received < client->options->requests) {
        if (sent < client->options->requests && sent - received < WINDOW) {
            size_t k = ((size_t)sent * 7 + (size_t)client->index * 131) % test->count;
            float image[MLP_IN];
            for (int i = 0; i < MLP_IN; i++)
                image[i] = (float)(test->pixels[k * MLP_IN + (size_t)i] / DIGITS_WHITE);
            int64_t now = serve_now_ns();
            manta_ref_t pixels = manta_put(image, sizeof image);
            window[sent++ % WINDOW] =
                (sent_t){router_classify(client->router, pixels, now + client->options->late_ns),
                         now, test->labels[k]};
            (void)manta_release(pixels);
        } else {
            client_receive(client, &window[received++ % WINDOW]);
        }
    }
    return NULL;
}

// ---- the server -------------------------------------------------------------------------------------

// Weights, trained on |set| by a task.
static manta_ref_t start_training(const digits_set_t *set, int epochs)
{
    MANTA_SCOPE();
    float *images = malloc(set->count * MLP_IN * sizeof *images);
    if (!images) return (manta_ref_t){0};
    for (size_t i = 0; i < set->count * MLP_IN; i++)
        images[i] = (float)(set->pixels[i] / DIGITS_WHITE);
    manta_ref_t x = manta_put(images, set->count * MLP_IN * sizeof *images);
    manta_ref_t y = manta_put(set->labels, set->count);
    free(images);
    return manta_keep(train_remote(x, y, epochs));
}

// Models start when the weights are there; each may be restarted, and tries its calls again then.
static bool start_fleet(const options_t *options, manta_ref_t weights, fleet_t *out_fleet)
{
    out_fleet->count = options->models;
    for (int i = 0; i < options->models; i++) {
        char name[32];
        snprintf(name, sizeof name, "digits/%d", i);
        out_fleet->models[i] =
            model_create(MANTA_ACTOR_OPTIONS(.name = name, .max_restarts = MANTA_UNLIMITED,
                                             .max_task_retries = MANTA_UNLIMITED,
                                             .device = options->gpus ? MANTA_GPU : MANTA_ANY),
                         weights);
        if (manta_actor_status(out_fleet->models[i].actor) != MANTA_OK) {
            fprintf(stderr, "serve: %s\n", manta_error_message());
            return false;
        }
    }
    return true;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct report {
    double accuracy, throughput, p50_us, p99_us;
    long right, answered, late, lost;
    unsigned restarts;
} report_t;

static void report_add(report_t *report, client_t *client, double *latencies)
{
    memcpy(latencies + report->answered, client->latencies_us,
           (size_t)client->answered * sizeof *latencies);
    report->right += client->right;
    report->answered += client->answered;
    report->late += client->late;
    report->lost += client->lost;
}

// Ticks the router until the clients are through, and kills the first model when half of the work is
// done, as far as the clock can tell.
typedef struct keeper {
    router_t router;
    model_t victim;
    const options_t *options;
    volatile bool *stop;
} keeper_t;

static void *keeper_main(void *arg)
{
    keeper_t *keeper = arg;
    struct timespec pause = {0, (long)(keeper->options->patience_ns / 2)};
    bool killed = false;
    for (int tick = 0; !__atomic_load_n(keeper->stop, __ATOMIC_ACQUIRE) || !killed; tick++) {
        (void)router_tick_go(keeper->router);
        nanosleep(&pause, NULL);
        manta_actor_info_t info = {.struct_size = sizeof info};
        if (killed || manta_actor_describe(keeper->victim.actor, &info) != MANTA_OK) continue;
        if (info.completed > 20 || tick > 200) {
            killed = manta_actor_kill(keeper->victim.actor, true) == MANTA_OK;
        }
    }
    return NULL;
}

static bool run_clients(const options_t *options, const digits_set_t *test, router_t router,
                        model_t victim, report_t *out_report)
{
    client_t clients[CLIENTS_MOST] = {0};
    size_t total = (size_t)options->clients * (size_t)options->requests;
    double *latencies = malloc(total * sizeof *latencies);
    double *room = malloc(total * sizeof *room);
    *out_report = (report_t){0};
    if (!latencies || !room) {
        fprintf(stderr, "serve: no memory for %zu latencies\n", total);
        free(latencies);
        free(room);
        return false;
    }
    volatile bool stop = false;
    keeper_t keeper = {router, victim, options, &stop};
    pthread_t keeper_thread;
    pthread_create(&keeper_thread, NULL, keeper_main, &keeper);
    int64_t begin = serve_now_ns();
    for (int i = 0; i < options->clients; i++) {
        clients[i] = (client_t){.options = options,
                                .test = test,
                                .router = router,
                                .index = i,
                                .latencies_us = room + (size_t)i * (size_t)options->requests};
        pthread_create(&clients[i].thread, NULL, client_main, &clients[i]);
    }
    for (int i = 0; i < options->clients; i++) {
        pthread_join(clients[i].thread, NULL);
        report_add(out_report, &clients[i], latencies);
    }
    double seconds = (double)(serve_now_ns() - begin) / 1e9;
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(keeper_thread, NULL);
    size_t n = (size_t)out_report->answered;
    qsort(latencies, n, sizeof *latencies, compare_doubles);
    out_report->throughput = (double)n / seconds;
    out_report->accuracy = n ? (double)out_report->right / (double)n : 0;
    out_report->p50_us = n ? latencies[n / 2] : 0;
    out_report->p99_us = n ? latencies[n * 99 / 100] : 0;
    free(latencies);
    free(room);
    return true;
}

static bool serve(const options_t *options, const digits_set_t *all, report_t *out_report)
{
    MANTA_SCOPE();
    digits_set_t half = digits_part(all, 0, all->count / 2);
    digits_set_t test = digits_part(all, half.count, all->count - half.count);
    manta_ref_t weights = start_training(&half, options->epochs);
    fleet_t fleet;
    if (!start_fleet(options, weights, &fleet)) return false;
    router_t router = router_create(MANTA_ACTOR_OPTIONS(.name = "router"), fleet, options->batch,
                                    options->patience_ns);
    // The clock starts when the first model has its weights.
    bool ok = manta_wait(&weights, 1, 1, MANTA_FOREVER, NULL, NULL) == MANTA_OK &&
              manta_ref_status(weights) == MANTA_OK;
    if (!ok) manta_ref_print_error(weights, stderr);
    (void)manta_release(weights);
    if (!ok || !run_clients(options, &test, router, fleet.models[0], out_report)) return false;
    // The victim may be on its way up.
    if (manta_drain(MANTA_FOREVER) != MANTA_OK) return false;
    manta_actor_info_t info = {.struct_size = sizeof info};
    for (int i = 0; i < fleet.count; i++) {
        if (manta_actor_describe(fleet.models[i].actor, &info) == MANTA_OK)
            out_report->restarts += info.restarts;
    }
    // Orderly: the router lets go of the last batch before the models do.
    return manta_actor_stop(router.actor, MANTA_S(10)) == MANTA_OK;
}

// ---- the command line ---------------------------------------------------------------------------------

static void usage(FILE *file)
{
    fprintf(file,
            "usage: serve [--models N] [--clients N] [--requests N] [--batch N] [--epochs N]\n"
            "             [--patience-us N] [--late-ms N] [--data FILE] [--json FILE]\n"
            "             [--gpus] [--sim N]\n"
            "--gpus puts the models on GPUs, --sim on N virtual ones.\n");
}

static long number(const char *text, long least, long most)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*text && !*end && value >= least && value <= most) return value;
    fprintf(stderr, "serve: '%s' is no number from %ld to %ld\n", text, least, most);
    exit(2);
}

static options_t parse(int argc, char **argv)
{
    static const struct option table[] = {{"models", required_argument, NULL, 'm'},
                                          {"clients", required_argument, NULL, 'c'},
                                          {"requests", required_argument, NULL, 'r'},
                                          {"batch", required_argument, NULL, 'b'},
                                          {"epochs", required_argument, NULL, 'e'},
                                          {"patience-us", required_argument, NULL, 'p'},
                                          {"late-ms", required_argument, NULL, 'l'},
                                          {"data", required_argument, NULL, 'd'},
                                          {"json", required_argument, NULL, 'j'},
                                          {"gpus", no_argument, NULL, 'g'},
                                          {"sim", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    options_t o = {.models = 2,
                   .clients = 4,
                   .batch = 16,
                   .epochs = 20,
                   .requests = 20000,
                   .patience_ns = MANTA_US(500),
                   .late_ns = MANTA_S(1),
                   .data = SERVE_DEFAULT_DATA};
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (c == 'm') o.models = (int)number(optarg, 1, MODELS_MOST);
        if (c == 'c') o.clients = (int)number(optarg, 1, CLIENTS_MOST);
        if (c == 'r') o.requests = number(optarg, 1, 10000000);
        if (c == 'b') o.batch = (int)number(optarg, 1, BATCH_MOST);
        if (c == 'e') o.epochs = (int)number(optarg, 1, 1000);
        if (c == 'p') o.patience_ns = MANTA_US(number(optarg, 10, 1000000));
        if (c == 'l') o.late_ns = MANTA_MS(number(optarg, 1, 1000000));
        if (c == 'd') o.data = optarg;
        if (c == 'j') o.json = optarg;
        if (c == 's') o.sim = (int)number(optarg, 1, 64);
        if (c == 'g' || c == 's') o.gpus = true;
        if (c == 'h' || c == '?') {
            usage(c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 2);
        }
    }
    if (optind == argc) return o;
    usage(stderr);
    exit(2);
}

static bool write_json(const char *path, const report_t *report)
{
    FILE *file = fopen(path, "w");
    if (!file) {
        fprintf(stderr, "serve: can't write %s\n", path);
        return false;
    }
    fprintf(file,
            "{\"accuracy\": %.4f, \"throughput\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
            "\"restarts\": %u, \"lost\": %ld}\n",
            report->accuracy, report->throughput, report->p50_us, report->p99_us, report->restarts,
            report->lost);
    return fclose(file) == 0;
}

int main(int argc, char **argv)
{
    options_t options = parse(argc, argv);
    digits_set_t all;
    report_t report = {0};
    manta_runtime_options_t runtime;
    manta_runtime_options_init(&runtime);
    runtime.sim_gpus = options.sim;
    if (manta_init(&runtime) != MANTA_OK) {
        fprintf(stderr, "serve: %s\n", manta_error_message());
        return EXIT_FAILURE;
    }
    if (!digits_load(options.data, &all)) return EXIT_FAILURE;
    bool ok = serve(&options, &all, &report);
    if (!ok) fprintf(stderr, "serve: %s\n", manta_error_message());
    ok = manta_shutdown(MANTA_S(20)) == MANTA_OK && ok;
    digits_free(&all);
    if (!ok) return EXIT_FAILURE;
    printf("%d models, %d clients: %ld digits read, %.1f %% right; %.0f per second, p50 %.0f us, "
           "p99 %.0f us\n",
           options.models, options.clients, report.answered, 100 * report.accuracy,
           report.throughput, report.p50_us, report.p99_us);
    printf("%u restarts, %ld late, %ld lost\n", report.restarts, report.late, report.lost);
    if (options.json && !write_json(options.json, &report)) return EXIT_FAILURE;
    return report.lost == 0 && report.restarts > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
