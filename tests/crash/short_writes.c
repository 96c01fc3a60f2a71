/*
 * Makes every third write to a file in the folder SHORT_WRITES_IN a short one: half of the bytes are written, and the
 * answer says so. That is allowed at any time; who does not write the rest afterwards has lost it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t (*write_call)(int, const void *, size_t, off64_t);

static atomic_uint writes;

static int is_below(int descriptor, const char *folder)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > (ssize_t)strlen(folder) && strncmp(path, folder, strlen(folder)) == 0;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset)
{
    write_call write = (write_call)dlsym(RTLD_NEXT, "pwrite64");
    const char *folder = getenv("SHORT_WRITES_IN");
    if (folder != NULL && count > 1 && is_below(descriptor, folder) && atomic_fetch_add(&writes, 1) % 3 == 2)
        count /= 2;
    return write(descriptor, bytes, count, offset);
}
