// CPU quotas of control groups, v1 and v2.
//
// /proc/self/cgroup says in which group of each hierarchy the process is, /proc/self/mountinfo where
// those hierarchies are mounted and which group a mount shows as its root (in a container that is
// often not the hierarchy's). A quota binds everything below it, so each level from the process's
// group up to the mount's root is read, and the tightest one counts.
#include "topology/topology_impl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CGROUP_NO_LIMIT INT64_MAX

// Which hierarchy a line is about.
typedef enum cgroup_version { CGROUP_NONE = 0, CGROUP_V1, CGROUP_V2 } cgroup_version_t;

// True if |name| is one of the comma separated words of |list|.
static bool cgroup_list_has(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *word = list; *word;) {
        size_t word_length = strcspn(word, ",");
        if (word_length == length && strncmp(word, name, length) == 0) return true;
        word += word_length;
        if (*word == ',') word++;
    }
    return false;
}

// Undoes the kernel's octal escapes (\040 for a blank) in place.
static void cgroup_unescape(char *text)
{
    char *out = text;
    for (const char *in = text; *in;) {
        bool octal = in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' &&
                     in[2] <= '7' && in[3] >= '0' && in[3] <= '7';
        if (octal) {
            *out++ = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out++ = *in++;
        }
    }
    *out = 0;
}

static FILE *cgroup_open(const char *root, const char *folder, const char *name)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    if (length < 0 || (size_t)length >= sizeof path) return NULL;
    return fopen(path, "re");
}

static int64_t cgroup_ratio_milli(long long quota, long long period)
{
    if (quota <= 0 || period <= 0 || quota > INT64_MAX / 1000) return CGROUP_NO_LIMIT;
    int64_t scaled = (int64_t)quota * 1000;
    return scaled / period + (scaled % period != 0);
}

static bool cgroup_read_number(const char *root, const char *folder, const char *name,
                               long long *out_value)
{
    FILE *file = cgroup_open(root, folder, name);
    if (!file) return false;
    int fields = fscanf(file, "%lld", out_value);
    fclose(file);
    return fields == 1;
}

// The limit that one group sets by itself.
static int64_t cgroup_group_milli(const char *root, const char *folder, cgroup_version_t version)
{
    long long quota = 0, period = 0;
    if (version == CGROUP_V1) {
        if (!cgroup_read_number(root, folder, "cpu.cfs_quota_us", &quota)) return CGROUP_NO_LIMIT;
        if (!cgroup_read_number(root, folder, "cpu.cfs_period_us", &period)) return CGROUP_NO_LIMIT;
        return cgroup_ratio_milli(quota, period); // a quota of -1 is none
    }
    FILE *file = cgroup_open(root, folder, "cpu.max"); // "max 100000" or "150000 100000"
    if (!file) return CGROUP_NO_LIMIT;
    int fields = fscanf(file, "%lld %lld", &quota, &period); // "max" is not a number: none read
    fclose(file);
    return fields == 2 ? cgroup_ratio_milli(quota, period) : CGROUP_NO_LIMIT;
}

// The tightest limit from |group|, a path below |mount_root|, up to the root of the mount.
static int64_t cgroup_walk_milli(const char *root, const char *mount_point, const char *mount_root,
                                 const char *group, cgroup_version_t version)
{
    // The group as seen through the mount. One that lies outside (another cgroup namespace) leaves
    // only the mount's own root to look at.
    size_t prefix = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    bool inside = strncmp(group, mount_root, prefix) == 0 &&
                  (group[prefix] == '/' || group[prefix] == 0) && !strstr(group, "/..");
    const char *below = inside ? group + prefix : "";

    char folder[PATH_MAX];
    int length = snprintf(folder, sizeof folder, "%s%s", mount_point, below);
    if (length < 0 || (size_t)length >= sizeof folder) return CGROUP_NO_LIMIT;

    size_t mount_length = strlen(mount_point);
    int64_t tightest = CGROUP_NO_LIMIT;
    for (;;) {
        int64_t limit = cgroup_group_milli(root, folder, version);
        if (limit < tightest) tightest = limit;
        char *slash = strrchr(folder + mount_length, '/');
        if (!slash) return tightest;
        *slash = 0;
    }
}

// Splits a mountinfo line in place. Returns CGROUP_NONE for mounts that set no CPU quota.
// "36 35 98:0 /root /mount/point rw,noatime shared:1 - cgroup2 cgroup rw"
static cgroup_version_t cgroup_parse_mount(char *line, char **out_root, char **out_point)
{
    char *tail = strstr(line, " - ");
    if (!tail) return CGROUP_NONE;
    *tail = 0;

    char *save = NULL;
    const char *type = strtok_r(tail + 3, " \n", &save);
    strtok_r(NULL, " \n", &save); // the source: any word
    const char *options = strtok_r(NULL, " \n", &save);
    cgroup_version_t version = CGROUP_NONE;
    if (type && strcmp(type, "cgroup2") == 0) version = CGROUP_V2;
    if (type && strcmp(type, "cgroup") == 0 && options && cgroup_list_has(options, "cpu"))
        version = CGROUP_V1;
    if (version == CGROUP_NONE) return CGROUP_NONE;

    strtok_r(line, " ", &save); // mount id
    strtok_r(NULL, " ", &save); // parent id
    strtok_r(NULL, " ", &save); // device
    *out_root = strtok_r(NULL, " ", &save);
    *out_point = strtok_r(NULL, " ", &save);
    if (!*out_root || !*out_point) return CGROUP_NONE;
    cgroup_unescape(*out_root);
    cgroup_unescape(*out_point);
    return version;
}

// Finds the group of this process in the hierarchy of |version|. The caller frees the result.
// "4:cpu,cpuacct:/docker/abc", and "0::/user.slice" for v2.
static char *cgroup_find_group(const char *root, cgroup_version_t version)
{
    FILE *file = cgroup_open(root, "/proc/self", "cgroup");
    if (!file) return NULL;
    char *line = NULL, *group = NULL;
    size_t capacity = 0;
    while (!group && getline(&line, &capacity, file) >= 0) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *controllers++ = 0;
        *path++ = 0;
        bool is_v2 = strcmp(line, "0") == 0 && *controllers == 0;
        bool match = version == CGROUP_V2 ? is_v2 : cgroup_list_has(controllers, "cpu");
        if (match) group = strdup(path);
    }
    free(line);
    fclose(file);
    return group;
}

int64_t mti_cgroup_quota_milli(const char *root)
{
    if (!root) root = "";
    FILE *file = cgroup_open(root, "/proc/self", "mountinfo");
    if (!file) return CGROUP_NO_LIMIT;
    int64_t tightest = CGROUP_NO_LIMIT;
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) >= 0) {
        char *mount_root = NULL, *mount_point = NULL;
        cgroup_version_t version = cgroup_parse_mount(line, &mount_root, &mount_point);
        char *group = version == CGROUP_NONE ? NULL : cgroup_find_group(root, version);
        if (!group) continue;
        int64_t limit = cgroup_walk_milli(root, mount_point, mount_root, group, version);
        if (limit < tightest) tightest = limit;
        free(group);
    }
    free(line);
    fclose(file);
    return tightest;
}
