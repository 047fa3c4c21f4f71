// Blurs photographs, finds their edges, evens out their light: a folder of them, in tasks.
#include "demo.h"
#include "options.h"
#include "picture.h"
#include "progress.h"
#include "tasks.h"

#include <manta/manta.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

// A photograph on its way. Its strings stay until all of its tasks are done.
typedef struct photo {
    char *name; // in its folder
    char *path;
    char *out[EFFECTS];
    manta_ref_t pixels;           // of the decoding
    manta_ref_t results[EFFECTS]; // of encode; {0} where an effect is not wanted
    int open;                     // results that are still awaited
    bool failed;
} photo_t;

typedef struct job {
    const photos_options_t *options;
    photo_t *photos;
    size_t count, next; // those before |next| have been submitted
    int in_flight;
    manta_cq_t cq; // a result's tag is the photograph's number times EFFECTS, plus the effect
    progress_t progress;
    uint64_t files, bytes; // written
} job_t;

// ---- what is there ---------------------------------------------------------------------------

static bool is_picture(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && dot != name &&
           (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 ||
            strcasecmp(dot, ".png") == 0);
}

static int picture_filter(const struct dirent *entry)
{
    return is_picture(entry->d_name);
}

// "|folder|/|stem|.|effect||extension|", or without effect; NULL: no memory.
static char *path_of(const char *folder, const char *name, const char *effect)
{
    int stem = (int)(strrchr(name, '.') - name);
    char *path = NULL;
    size_t size = 0;
    FILE *text = open_memstream(&path, &size);
    if (!text) return NULL;
    if (effect) {
        fprintf(text, "%s/%.*s.%s%s", folder, stem, name, effect, name + stem);
    } else {
        fprintf(text, "%s/%s", folder, name);
    }
    if (fclose(text) == 0) return path;
    free(path);
    return NULL;
}

static void photo_free(photo_t *photo)
{
    free(photo->path);
    for (int e = 0; e < EFFECTS; e++)
        free(photo->out[e]);
    photo->path = NULL;
    memset(photo->out, 0, sizeof photo->out);
}

static void job_free(job_t *job)
{
    for (size_t i = 0; i < job->count; i++) {
        photo_free(&job->photos[i]);
        free(job->photos[i].name);
    }
    free(job->photos);
}

// Returns an exit status; fills in the photographs of |job|, sorted by name.
static int job_list(job_t *job)
{
    struct dirent **entries = NULL;
    const char *folder = job->options->from;
    int count = scandir(folder, &entries, picture_filter, alphasort);
    if (count < 0) {
        fprintf(stderr, "photos: %s cannot be read: %s\n", folder, strerror(errno));
        return EXIT_FAILURE;
    }
    job->photos = calloc((size_t)count + 1, sizeof *job->photos);
    bool ok = job->photos != NULL;
    for (int i = 0; i < count; i++) {
        if (ok) {
            job->photos[i].name = strdup(entries[i]->d_name);
            ok = job->photos[i].name != NULL;
            if (ok) job->count++;
        }
        free(entries[i]);
    }
    free(entries);
    if (!ok) fprintf(stderr, "photos: no memory for the names of %d photographs\n", count);
    if (ok && count == 0)
        fprintf(stderr, "photos: there is no JPEG or PNG in %s; --demo 20 draws some\n", folder);
    return ok && count ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool folder_make(const char *path)
{
    struct stat st;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return true;
    fprintf(stderr, "photos: %s cannot be made: %s\n", path, strerror(errno));
    return false;
}

// ---- one photograph --------------------------------------------------------------------------

static void photo_done(job_t *job, photo_t *photo)
{
    // It reads the path, and may still run: what follows fails at once if it is refused.
    if (photo->pixels.id) {
        (void)!manta_wait(&photo->pixels, 1, 1, MANTA_FOREVER, NULL, NULL);
        manta_release(photo->pixels);
        photo->pixels.id = 0;
    }
    photo_free(photo);
    job->in_flight--;
    progress_step(&job->progress, photo->failed);
}

// Says, once for each photograph, what went wrong.
static void photo_fail(job_t *job, photo_t *photo, const char *why)
{
    if (!photo->failed) progress_say(&job->progress, "photos: %s: %s", photo->name, why);
    photo->failed = true;
}

// The root of what |ref| failed with.
static void photo_fail_as(job_t *job, photo_t *photo, manta_ref_t ref, manta_status_t status)
{
    const manta_error_t *error = manta_ref_error(ref), *root = error;
    while (manta_error_cause(root))
        root = manta_error_cause(root);
    const char *text = manta_error_text(root);
    photo_fail(job, photo, *text ? text : manta_status_name(status));
    manta_error_release(error);
}

// Right after a submit: whether it was the call itself that failed.
static void photo_fail_at_once(job_t *job, photo_t *photo, manta_ref_t ref)
{
    char why[512];
    snprintf(why, sizeof why, "%s", manta_error_message());
    manta_status_t status = manta_ref_status(ref);
    if (status == MANTA_OK || status == MANTA_NOT_READY) return;
    const manta_error_t *error = manta_ref_error(ref);
    if (!*manta_error_text(error)) photo_fail(job, photo, why);
    manta_error_release(error);
}

// Submits one effect on |pixels| and the writing of what it gives. What is wrong with the call itself is
// told at once: its ref has a code and no text.
static manta_ref_t submit_effect(job_t *job, photo_t *photo, int effect, picture_info_t info,
                                 manta_ref_t pixels)
{
    manta_task_options_t where = MANTA_OPTIONS(.where = job->options->where);
    manta_ref_t made;
    switch (effect) {
    case EFFECT_BLUR:
        made = blur_with(where, info, job->options->passes, pixels);
        break;
    case EFFECT_EDGES:
        made = edges_with(where, info, pixels);
        info.channels = 1;
        break;
    default:
        made = equalize_with(where, info, pixels);
        break;
    }
    photo_fail_at_once(job, photo, made);
    return encode_remote(photo->out[effect], info, job->options->quality, made);
}

static bool photo_paths(const job_t *job, photo_t *photo)
{
    photo->path = path_of(job->options->from, photo->name, NULL);
    bool ok = photo->path != NULL;
    for (int e = 0; e < EFFECTS && ok; e++) {
        if (!job->options->effects[e]) continue;
        photo->out[e] = path_of(job->options->to, photo->name, effect_names[e]);
        ok = photo->out[e] != NULL;
    }
    return ok;
}

// Reads the header and submits all there is to do. From here on nothing waits: the tasks find each other
// through their refs, and so do their failures.
static manta_status_t photo_submit(job_t *job, size_t number)
{
    MANTA_SCOPE();
    photo_t *photo = &job->photos[number];
    picture_info_t info;
    char error[PICTURE_ERROR_BYTES];
    job->in_flight++;
    bool ok = photo_paths(job, photo);
    if (!ok) snprintf(error, sizeof error, "no memory for its paths");
    ok = ok && picture_probe(photo->path, &info, error);
    if (!ok) {
        photo_fail(job, photo, error);
        photo_done(job, photo);
        return MANTA_OK;
    }
    manta_status_t status = MANTA_OK;
    manta_ref_t pixels = photo->pixels = manta_keep(decode_remote(photo->path, info));
    for (int e = 0; e < EFFECTS; e++) {
        if (!job->options->effects[e]) continue;
        photo->results[e] = manta_keep(submit_effect(job, photo, e, info, pixels));
        photo->open++;
        if (status == MANTA_OK)
            status = manta_cq_add(job->cq, photo->results[e], number * EFFECTS + (uint64_t)e);
    }
    return status;
}

static void result_done(job_t *job, const manta_cq_entry_t *entry)
{
    photo_t *photo = &job->photos[entry->tag / EFFECTS];
    uint64_t bytes = 0;
    manta_status_t status = encode_result(entry->ref, &bytes);
    if (status == MANTA_OK) {
        job->files++;
        job->bytes += bytes;
    } else {
        photo_fail_as(job, photo, entry->ref, status);
    }
    manta_release(entry->ref);
    if (--photo->open == 0) photo_done(job, photo);
}

// ---- all of them -----------------------------------------------------------------------------

// Keeps |most| photographs on their way until all are done.
static manta_status_t job_run(job_t *job, int most)
{
    manta_status_t status = manta_cq_create(&job->cq);
    if (status != MANTA_OK) return status;
    progress_begin(&job->progress, job->count);
    while (status == MANTA_OK && (job->next < job->count || job->in_flight > 0)) {
        while (status == MANTA_OK && job->next < job->count && job->in_flight < most)
            status = photo_submit(job, job->next++);
        if (status != MANTA_OK || job->in_flight == 0) continue;
        manta_cq_entry_t entries[16];
        size_t count = 0;
        status = manta_cq_next(job->cq, entries, 16, &count, MANTA_FOREVER);
        for (size_t i = 0; i < count; i++)
            result_done(job, &entries[i]);
    }
    // Tasks that are left have pointers to the paths.
    manta_status_t drained = job->in_flight > 0 ? manta_drain(MANTA_FOREVER) : MANTA_OK;
    manta_cq_destroy(job->cq);
    return status == MANTA_OK ? drained : status;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int job_do(job_t *job)
{
    manta_stats_t stats = {.struct_size = sizeof stats};
    manta_runtime_stats(manta_runtime_default(), &stats);
    int workers = stats.workers > 0 ? stats.workers : 1;
    int most = job->options->in_flight ? job->options->in_flight : 2 * workers;
    printf("workers   %d, up to %d photographs at a time\n", stats.workers, most);
    double start = now();
    if (job_run(job, most) != MANTA_OK) {
        fprintf(stderr, "photos: %s\n", manta_error_message());
        return EXIT_FAILURE;
    }
    double seconds = now() - start;
    manta_runtime_stats(manta_runtime_default(), &stats);
    size_t good = job->count - job->progress.failed;
    printf("written   %llu pictures of %zu photographs, %.1f MB, in %s\n",
           (unsigned long long)job->files, good, (double)job->bytes * 1e-6, job->options->to);
    if (job->progress.failed) printf("failed    %zu\n", job->progress.failed);
    printf("all       %.3f s, %.1f photographs per second, %.0f %% of it inside bodies\n", seconds,
           (double)good / seconds,
           100 * (double)stats.busy_ns * 1e-9 / (seconds * (double)workers));
    return job->progress.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static bool runtime_start(int workers)
{
    manta_runtime_options_t options;
    manta_runtime_options_init(&options);
    options.name = "photos";
    options.workers = workers;
    options.measure_busy = true;
    options.report_leaks = true;
    if (manta_init(&options) == MANTA_OK) return true;
    fprintf(stderr, "photos: cannot start manta: %s\n", manta_error_message());
    return false;
}

int main(int argc, char **argv)
{
    photos_options_t options;
    photos_options_parse(argc, argv, &options);
    if (options.demo && !(folder_make(options.from) && demo_draw(options.from, options.demo)))
        return EXIT_FAILURE;
    job_t job = {.options = &options};
    int status = job_list(&job);
    if (status == EXIT_SUCCESS && !folder_make(options.to)) status = EXIT_FAILURE;
    if (status == EXIT_SUCCESS && !runtime_start(options.workers)) status = EXIT_FAILURE;
    if (status == EXIT_SUCCESS) {
        status = job_do(&job);
        if (manta_shutdown(MANTA_FOREVER) != MANTA_OK) {
            fprintf(stderr, "photos: cannot stop manta: %s\n", manta_error_message());
            status = EXIT_FAILURE;
        }
    }
    job_free(&job);
    return status;
}
