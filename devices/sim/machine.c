#include "devices/sim/machine.h"

#include "base/alloc.h"
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// ---- The default machine -------------------------------------------------------------------------

// An H200 in round numbers, on a board where all see all; how many there are is up to the user.
static const mti_machine_gpu_t default_gpu = {
    .name = "virtual GPU",
    .memory_bytes = 16ull << 30,
    .node = -1,
    .cc_major = 9,
    .cc_minor = 0,
    .in_bytes_per_s = 55000000000,
    .out_bytes_per_s = 53000000000,
    .memory_bytes_per_s = 4000000000000,
    .latency_ns = 1500,
    .launch_ns = 2500,
    .slots = 8,
    .queues = 64,
};
static const mti_machine_link_t default_link = {true, 370000000000, 2000};

void mti_machine_default(mti_machine_file_t *out_machine, uint32_t gpu_count)
{
    memset(out_machine, 0, sizeof *out_machine);
    out_machine->gpu_count = gpu_count;
    for (uint32_t a = 0; a < MTI_MACHINE_MAX_GPUS; a++) {
        out_machine->gpus[a] = default_gpu;
        for (uint32_t b = 0; b < MTI_MACHINE_MAX_GPUS; b++)
            out_machine->links[a][b] = default_link;
    }
}

// ---- Words ---------------------------------------------------------------------------------------

typedef struct word {
    const char *text;
    size_t length;
} word_t;

typedef struct parser {
    const char *at, *end; // of what is left of the line
    uint32_t line;
    mti_machine_file_t *machine;
    uint32_t globals_seen;                     // one bit per word that may stand once
    uint64_t links_seen[MTI_MACHINE_MAX_GPUS]; // one bit per pair
    uint32_t link_line[MTI_MACHINE_MAX_GPUS];  // where the highest GPU of a link was named
} parser_t;

static manta_status_t parse_error(const parser_t *parser, const char *what, word_t word)
{
    int length = word.length < 40 ? (int)word.length : 40;
    return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "machine file, line %u: %s%s%.*s%s", parser->line,
                    what, word.text ? ": '" : "", word.text ? length : 0,
                    word.text ? word.text : "", word.text ? "'" : "");
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

// The next word of the line; false at its end, or where a comment starts.
static bool next_word(parser_t *parser, word_t *out_word)
{
    while (parser->at < parser->end && is_blank(*parser->at))
        parser->at++;
    if (parser->at == parser->end || *parser->at == '#') return false;
    out_word->text = parser->at;
    while (parser->at < parser->end && !is_blank(*parser->at) && *parser->at != '#')
        parser->at++;
    out_word->length = (size_t)(parser->at - out_word->text);
    return true;
}

static bool word_is(word_t word, const char *text)
{
    return word.length == strlen(text) && memcmp(word.text, text, word.length) == 0;
}

// A decimal number; what follows it is left in |*word|. False if there is none, or it is too large.
static bool take_number(word_t *word, uint64_t *out_number)
{
    uint64_t number = 0;
    size_t i = 0;
    for (; i < word->length && word->text[i] >= '0' && word->text[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(word->text[i] - '0');
        if (__builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, digit, &number))
            return false;
    }
    if (i == 0) return false;
    word->text += i;
    word->length -= i;
    *out_number = number;
    return true;
}

typedef struct unit {
    const char *name;
    uint64_t factor;
} unit_t;

static const unit_t no_units[] = {{"", 1}, {NULL, 0}};
static const unit_t byte_units[] = {{"", 1},
                                    {"B", 1},
                                    {"KiB", 1ull << 10},
                                    {"MiB", 1ull << 20},
                                    {"GiB", 1ull << 30},
                                    {"TiB", 1ull << 40},
                                    {"KB", 1000},
                                    {"MB", 1000000},
                                    {"GB", 1000000000},
                                    {"TB", 1000000000000},
                                    {NULL, 0}};
static const unit_t speed_units[] = {
    {"B/s", 1},           {"KB/s", 1000},          {"MB/s", 1000000},
    {"GB/s", 1000000000}, {"TB/s", 1000000000000}, {NULL, 0}};
static const unit_t time_units[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};

// A whole word: number and unit, from |low| to |high|.
static bool parse_quantity(word_t word, const unit_t *units, uint64_t low, uint64_t high,
                           uint64_t *out)
{
    uint64_t number;
    if (!take_number(&word, &number)) return false;
    for (; units->name; units++) {
        if (!word_is(word, units->name)) continue;
        if (__builtin_mul_overflow(number, units->factor, &number)) return false;
        if (number < low || number > high) return false;
        *out = number;
        return true;
    }
    return false;
}

// ---- Keys ----------------------------------------------------------------------------------------

typedef enum key_id {
    KEY_NAME,
    KEY_MEMORY,
    KEY_NODE,
    KEY_CC,
    KEY_IN,
    KEY_OUT,
    KEY_SPEED,
    KEY_LATENCY,
    KEY_LAUNCH,
    KEY_SLOTS,
    KEY_QUEUES
} key_id_t;

typedef struct key {
    const char *name;
    key_id_t id;
    const unit_t *units; // NULL: read by hand
    uint64_t low, high;
} machine_key_t;

#define MAX_SPEED 1000000000000000ull // 1 PB/s
#define MAX_TIME  3600000000000ull    // an hour

static const machine_key_t gpu_keys[] = {
    {"name", KEY_NAME, NULL, 0, 0},
    {"memory", KEY_MEMORY, byte_units, 1, 1ull << 50},
    {"node", KEY_NODE, no_units, 0, 1023},
    {"cc", KEY_CC, NULL, 0, 0},
    {"in", KEY_IN, speed_units, 1, MAX_SPEED},
    {"out", KEY_OUT, speed_units, 1, MAX_SPEED},
    {"speed", KEY_SPEED, speed_units, 1, MAX_SPEED},
    {"latency", KEY_LATENCY, time_units, 0, MAX_TIME},
    {"launch", KEY_LAUNCH, time_units, 0, MAX_TIME},
    {"slots", KEY_SLOTS, no_units, 1, 1024},
    {"queues", KEY_QUEUES, no_units, 1, 256},
    {NULL, KEY_NAME, NULL, 0, 0},
};
static const machine_key_t link_keys[] = {
    {"speed", KEY_SPEED, speed_units, 1, MAX_SPEED},
    {"latency", KEY_LATENCY, time_units, 0, MAX_TIME},
    {NULL, KEY_NAME, NULL, 0, 0},
};

// Splits "key=value", finds the key, and reads a value with units. A key may stand once.
static manta_status_t parse_pair(const parser_t *parser, word_t word, const machine_key_t *keys,
                                 uint32_t *seen, const machine_key_t **out_key, word_t *out_value,
                                 uint64_t *out_number)
{
    const char *equals = memchr(word.text, '=', word.length);
    if (!equals) return parse_error(parser, "expected key=value", word);
    word_t name = {word.text, (size_t)(equals - word.text)};
    word_t value = {equals + 1, word.length - name.length - 1};
    while (keys->name && !word_is(name, keys->name))
        keys++;
    if (!keys->name) return parse_error(parser, "unknown key", name);
    if (*seen >> keys->id & 1) return parse_error(parser, "key stands twice", name);
    *seen |= 1u << keys->id;
    if (keys->units && !parse_quantity(value, keys->units, keys->low, keys->high, out_number))
        return parse_error(parser, "not a value for this key, or out of range", word);
    *out_key = keys;
    *out_value = value;
    return MANTA_OK;
}

static bool parse_cc(word_t value, mti_machine_gpu_t *gpu)
{
    uint64_t major, minor;
    if (!take_number(&value, &major) || value.length == 0 || value.text[0] != '.') return false;
    value.text++;
    value.length--;
    if (!take_number(&value, &minor) || value.length > 0 || major > 99 || minor > 9) return false;
    gpu->cc_major = (int)major;
    gpu->cc_minor = (int)minor;
    return true;
}

static bool parse_name(word_t value, mti_machine_gpu_t *gpu)
{
    if (value.length == 0 || value.length >= sizeof gpu->name) return false;
    for (size_t i = 0; i < value.length; i++) {
        if (value.text[i] < 0x21 || value.text[i] > 0x7e) return false;
    }
    memcpy(gpu->name, value.text, value.length);
    gpu->name[value.length] = '\0';
    return true;
}

static manta_status_t parse_gpu_keys(parser_t *parser, mti_machine_gpu_t *gpu)
{
    uint32_t seen = 0;
    word_t word;
    while (next_word(parser, &word)) {
        const machine_key_t *key;
        word_t value;
        uint64_t number = 0;
        manta_status_t status = parse_pair(parser, word, gpu_keys, &seen, &key, &value, &number);
        if (status != MANTA_OK) return status;
        switch (key->id) {
        case KEY_NAME:
            if (!parse_name(value, gpu)) return parse_error(parser, "not a name", word);
            break;
        case KEY_CC:
            if (!parse_cc(value, gpu)) return parse_error(parser, "not major.minor", word);
            break;
        case KEY_MEMORY:
            gpu->memory_bytes = number;
            break;
        case KEY_NODE:
            gpu->node = (int)number;
            break;
        case KEY_IN:
            gpu->in_bytes_per_s = number;
            break;
        case KEY_OUT:
            gpu->out_bytes_per_s = number;
            break;
        case KEY_SPEED:
            gpu->memory_bytes_per_s = number;
            break;
        case KEY_LATENCY:
            gpu->latency_ns = (int64_t)number;
            break;
        case KEY_LAUNCH:
            gpu->launch_ns = (int64_t)number;
            break;
        case KEY_SLOTS:
            gpu->slots = (uint32_t)number;
            break;
        case KEY_QUEUES:
            gpu->queues = (uint32_t)number;
            break;
        }
    }
    return MANTA_OK;
}

static manta_status_t parse_link_keys(parser_t *parser, mti_machine_link_t *link)
{
    uint32_t seen = 0;
    word_t word;
    while (next_word(parser, &word)) {
        if (word_is(word, "none")) {
            if (seen != 0 || next_word(parser, &word))
                return parse_error(parser, "'none' stands alone", (word_t){NULL, 0});
            link->direct = false;
            return MANTA_OK;
        }
        const machine_key_t *key;
        word_t value;
        uint64_t number = 0;
        manta_status_t status = parse_pair(parser, word, link_keys, &seen, &key, &value, &number);
        if (status != MANTA_OK) return status;
        if (key->id == KEY_SPEED) {
            link->bytes_per_s = number;
        } else {
            link->latency_ns = (int64_t)number;
        }
    }
    return MANTA_OK;
}

// ---- Lines ---------------------------------------------------------------------------------------

static manta_status_t expect_end(parser_t *parser)
{
    word_t word;
    return next_word(parser, &word) ? parse_error(parser, "one word too many", word) : MANTA_OK;
}

static manta_status_t parse_clock(parser_t *parser)
{
    word_t word;
    if (!next_word(parser, &word))
        return parse_error(parser, "clock: which one? threads, real or virtual", (word_t){NULL, 0});
    if (word_is(word, "threads")) {
        parser->machine->clock = MTI_MACHINE_CLOCK_THREADS;
    } else if (word_is(word, "real")) {
        parser->machine->clock = MTI_MACHINE_CLOCK_REAL;
    } else if (word_is(word, "virtual")) {
        parser->machine->clock = MTI_MACHINE_CLOCK_VIRTUAL;
    } else {
        return parse_error(parser, "a clock is threads, real or virtual, not", word);
    }
    return expect_end(parser);
}

static manta_status_t parse_one_number(parser_t *parser, uint64_t low, uint64_t high, uint64_t *out)
{
    word_t word = {NULL, 0};
    if (!next_word(parser, &word)) return parse_error(parser, "a number is missing", word);
    if (!parse_quantity(word, no_units, low, high, out))
        return parse_error(parser, "not a number, or out of range", word);
    return MANTA_OK;
}

// gpu key=value …        one more
// gpus N key=value …     N more
static manta_status_t parse_gpus(parser_t *parser, bool several)
{
    mti_machine_file_t *machine = parser->machine;
    uint64_t count = 1;
    if (several) {
        manta_status_t status = parse_one_number(parser, 1, MTI_MACHINE_MAX_GPUS, &count);
        if (status != MANTA_OK) return status;
    }
    if (count > MTI_MACHINE_MAX_GPUS - machine->gpu_count)
        return parse_error(parser, "more than 64 GPUs", (word_t){NULL, 0});
    mti_machine_gpu_t gpu = default_gpu;
    manta_status_t status = parse_gpu_keys(parser, &gpu);
    if (status != MANTA_OK) return status;
    for (uint64_t i = 0; i < count; i++)
        machine->gpus[machine->gpu_count++] = gpu;
    return MANTA_OK;
}

// link A B key=value …   one pair, both ways
// link A B none
static manta_status_t parse_link(parser_t *parser)
{
    uint64_t a, b;
    manta_status_t status = parse_one_number(parser, 0, MTI_MACHINE_MAX_GPUS - 1, &a);
    if (status == MANTA_OK) status = parse_one_number(parser, 0, MTI_MACHINE_MAX_GPUS - 1, &b);
    if (status != MANTA_OK) return status;
    if (a == b) return parse_error(parser, "a link of a GPU to itself", (word_t){NULL, 0});
    uint64_t low = a < b ? a : b, high = a < b ? b : a;
    if (parser->links_seen[low] >> high & 1)
        return parse_error(parser, "this pair has a link already", (word_t){NULL, 0});
    parser->links_seen[low] |= 1ull << high;
    if (parser->link_line[high] == 0) parser->link_line[high] = parser->line;
    mti_machine_link_t link = parser->machine->links[a][b];
    link.direct = true;
    status = parse_link_keys(parser, &link);
    parser->machine->links[a][b] = parser->machine->links[b][a] = link;
    return status;
}

// links key=value …      all pairs; before any link
static manta_status_t parse_links(parser_t *parser)
{
    for (uint32_t a = 0; a < MTI_MACHINE_MAX_GPUS; a++) {
        if (parser->links_seen[a] != 0)
            return parse_error(parser, "'links' stands before any 'link'", (word_t){NULL, 0});
    }
    mti_machine_link_t link = default_link;
    manta_status_t status = parse_link_keys(parser, &link);
    for (uint32_t a = 0; a < MTI_MACHINE_MAX_GPUS; a++) {
        for (uint32_t b = 0; b < MTI_MACHINE_MAX_GPUS; b++)
            parser->machine->links[a][b] = link;
    }
    return status;
}

static manta_status_t parse_once(parser_t *parser, uint32_t bit, word_t word)
{
    if (parser->globals_seen >> bit & 1) return parse_error(parser, "stands twice", word);
    parser->globals_seen |= 1u << bit;
    return MANTA_OK;
}

static manta_status_t parse_line(parser_t *parser)
{
    enum { ONCE_CLOCK, ONCE_SEED, ONCE_JITTER, ONCE_LINKS };
    word_t word;
    if (!next_word(parser, &word)) return MANTA_OK;
    manta_status_t status;
    if (word_is(word, "gpu")) return parse_gpus(parser, false);
    if (word_is(word, "gpus")) return parse_gpus(parser, true);
    if (word_is(word, "link")) return parse_link(parser);
    if (word_is(word, "links")) {
        status = parse_once(parser, ONCE_LINKS, word);
        return status == MANTA_OK ? parse_links(parser) : status;
    }
    if (word_is(word, "clock")) {
        status = parse_once(parser, ONCE_CLOCK, word);
        return status == MANTA_OK ? parse_clock(parser) : status;
    }
    uint64_t number;
    if (word_is(word, "seed")) {
        status = parse_once(parser, ONCE_SEED, word);
        if (status == MANTA_OK) status = parse_one_number(parser, 0, UINT64_MAX, &number);
        if (status == MANTA_OK) parser->machine->seed = number;
        return status == MANTA_OK ? expect_end(parser) : status;
    }
    if (word_is(word, "jitter")) {
        status = parse_once(parser, ONCE_JITTER, word);
        if (status == MANTA_OK) status = parse_one_number(parser, 0, 100, &number);
        if (status == MANTA_OK) parser->machine->jitter_percent = (uint32_t)number;
        return status == MANTA_OK ? expect_end(parser) : status;
    }
    return parse_error(parser, "unknown word", word);
}

static manta_status_t parse_text(parser_t *parser, const char *text, size_t size_bytes)
{
    const char *end = text + size_bytes;
    while (text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        if (!line_end) line_end = end;
        parser->line++;
        parser->at = text;
        parser->end = line_end;
        manta_status_t status = parse_line(parser);
        if (status != MANTA_OK) return status;
        text = line_end < end ? line_end + 1 : end;
    }
    for (uint32_t i = parser->machine->gpu_count; i < MTI_MACHINE_MAX_GPUS; i++) {
        if (parser->link_line[i] == 0) continue;
        parser->line = parser->link_line[i];
        return parse_error(parser, "a link to a GPU that there is not", (word_t){NULL, 0});
    }
    return MANTA_OK;
}

manta_status_t mti_machine_parse(const char *text, size_t size_bytes,
                                 const manta_allocator_t *allocator,
                                 mti_machine_file_t *out_machine)
{
    if (size_bytes > MTI_MACHINE_MAX_BYTES)
        return mti_fail(MANTA_ERR_INVALID_ARGUMENT, "machine file: %zu bytes are more than %d",
                        size_bytes, MTI_MACHINE_MAX_BYTES);
    mti_machine_file_t *machine = mti_alloc(allocator, sizeof *machine, 16);
    if (!machine) return mti_fail(MANTA_ERR_OUT_OF_MEMORY, "machine file: no memory");
    mti_machine_default(machine, 0);
    parser_t parser = {.machine = machine};
    manta_status_t status = parse_text(&parser, text, size_bytes);
    if (status == MANTA_OK) *out_machine = *machine;
    mti_free(allocator, machine, sizeof *machine);
    return status;
}

manta_status_t mti_machine_read(const char *path, const manta_allocator_t *allocator,
                                mti_machine_file_t *out_machine)
{
    FILE *file = fopen(path, "re");
    if (!file) return mti_fail(MANTA_ERR_IO, "%.300s: %s", path, strerror(errno));
    manta_status_t status = MANTA_OK;
    size_t room = MTI_MACHINE_MAX_BYTES + 1, size_bytes = 0;
    char *text = mti_alloc(allocator, room, 16);
    if (!text) {
        status = mti_fail(MANTA_ERR_OUT_OF_MEMORY, "%.300s: no memory to read it", path);
    } else {
        size_bytes = fread(text, 1, room, file);
        if (ferror(file)) status = mti_fail(MANTA_ERR_IO, "%.300s: %s", path, strerror(errno));
    }
    fclose(file);
    if (status == MANTA_OK) {
        status = mti_machine_parse(text, size_bytes, allocator, out_machine);
        if (status != MANTA_OK) status = mti_fail_note(status, "%s", path);
    }
    mti_free(allocator, text, room);
    return status;
}
