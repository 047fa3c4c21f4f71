#include "options.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const effect_names[EFFECTS] = {"blur", "edges", "equalize"};

// Every long option has a number of its own; none has a short form.
enum option_key {
    OPTION_EFFECTS = 1000,
    OPTION_BLUR,
    OPTION_QUALITY,
    OPTION_IN_FLIGHT,
    OPTION_WORKERS,
    OPTION_WHERE,
    OPTION_DEMO
};

static const struct argp_option option_table[] = {
    {"effects", OPTION_EFFECTS, "LIST", 0,
     "What to make of each photograph, with commas between (default: blur,edges,equalize)", 1},
    {"blur", OPTION_BLUR, "N", 0, "How often to blur, 1 to 1000 (default: 8)", 1},
    {"quality", OPTION_QUALITY, "Q", 0, "Of the JPEGs that are written, 1 to 100 (default: 90)", 1},
    {"in-flight", OPTION_IN_FLIGHT, "N", 0,
     "Photographs in memory at a time (default: two per worker)", 2},
    {"workers", OPTION_WORKERS, "N", 0,
     "Threads that run tasks (default: one per core); 0: all in the main thread, one by one", 2},
    {"where", OPTION_WHERE, "WHERE", 0, "Run the effects on any, cpu or gpu (default: any)", 2},
    {"demo", OPTION_DEMO, "N", 0, "First draw N pictures into FOLDER, which is made if need be", 3},
    {0}};

static int parse_integer(struct argp_state *state, const char *name, const char *text, long least,
                         long most)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < least || value > most)
        argp_error(state, "--%s takes a whole number from %ld to %ld, not '%s'", name, least, most,
                   text);
    return (int)value;
}

static void parse_effects(struct argp_state *state, const char *text, bool *out_effects)
{
    memset(out_effects, 0, EFFECTS * sizeof *out_effects);
    for (const char *rest = text;;) {
        size_t length = strcspn(rest, ",");
        int effect = 0;
        while (effect < EFFECTS && (strlen(effect_names[effect]) != length ||
                                    strncmp(effect_names[effect], rest, length) != 0))
            effect++;
        if (effect == EFFECTS)
            argp_error(state, "--effects takes some of blur,edges,equalize, not '%s'", text);
        out_effects[effect] = true;
        if (!rest[length]) return;
        rest += length + 1;
    }
}

static manta_where_t parse_where(struct argp_state *state, const char *text)
{
    if (strcmp(text, "any") == 0) return MANTA_ANY;
    if (strcmp(text, "cpu") == 0) return MANTA_CPU;
    if (strcmp(text, "gpu") == 0) return MANTA_GPU;
    argp_error(state, "--where takes any, cpu or gpu, not '%s'", text);
    return MANTA_ANY;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    photos_options_t *options = state->input;
    switch (key) {
    case OPTION_EFFECTS:
        parse_effects(state, arg, options->effects);
        return 0;
    case OPTION_BLUR:
        options->passes = parse_integer(state, "blur", arg, 1, 1000);
        return 0;
    case OPTION_QUALITY:
        options->quality = parse_integer(state, "quality", arg, 1, 100);
        return 0;
    case OPTION_IN_FLIGHT:
        options->in_flight = parse_integer(state, "in-flight", arg, 1, 100000);
        return 0;
    case OPTION_WORKERS:
        options->workers = parse_integer(state, "workers", arg, 0, 1024);
        return 0;
    case OPTION_WHERE:
        options->where = parse_where(state, arg);
        return 0;
    case OPTION_DEMO:
        options->demo = parse_integer(state, "demo", arg, 1, 100000);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1) argp_error(state, "what is '%s'?", arg);
        if (!*arg) argp_error(state, "a folder without a name");
        *(state->arg_num == 0 ? &options->from : &options->to) = arg;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2) argp_error(state, "it takes two folders: from where, and to where");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void photos_options_parse(int argc, char **argv, photos_options_t *out_options)
{
    static const struct argp parser = {
        .options = option_table,
        .parser = parse_option,
        .args_doc = "FOLDER OUT",
        .doc = "Blurs photographs, finds their edges, evens out their light: every JPEG and PNG in "
               "FOLDER goes to OUT as NAME.blur.jpg, NAME.edges.jpg and NAME.equalize.jpg."};
    *out_options = (photos_options_t){
        .effects = {true, true, true}, .passes = 8, .quality = 90, .workers = MANTA_AUTO};
    argp_err_exit_status = 2;
    if (argp_parse(&parser, argc, argv, 0, NULL, out_options)) exit(2);
}
