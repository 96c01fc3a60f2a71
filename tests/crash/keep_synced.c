/*
 * Keeps what a power cut would leave: preloaded into a process, it copies each file and folder that is synced.
 *
 * SYNCED_FROM is a folder (its real path), SYNCED_TO another. At each fsync() and fdatasync() that succeeds:
 *
 *   a regular file in SYNCED_FROM   what was in the file is kept as SYNCED_TO/<identity>
 *   SYNCED_FROM itself              which file has which name is kept as SYNCED_TO/entries, "<identity> <name>" a line
 *
 * An identity is the inode's number and time of birth, so a file that was removed and made again is another file. The
 * rules are the strict ones of POSIX: a file's bytes are kept by syncing the file, its name by syncing the folder.
 * sync(), syncfs(), sync_file_range(), msync() and O_SYNC keep nothing; nobody here may rely on them.
 *
 * The copy is taken before the sync and gets its name after it: what others write meanwhile was not synced. A lock for
 * each file lets only one sync at it at a time, so that no older copy replaces a newer one. A copy that cannot be made
 * ends the process: to go on would call bytes lost that were not, or the other way round.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*sync_call)(int);
typedef void (*copy_call)(int from, int to);

static void give_up(const char *what)
{
    fprintf(stderr, "keep_synced: %s: %s\n", what, strerror(errno));
    abort();
}

static int open_in(const char *folder, const char *name, const char *ending, int flags)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, ending);
    int descriptor = open(path, flags | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0)
        give_up(path);
    return descriptor;
}

/* Answers 0 for a regular file, 1 for anything else, -1 if it is gone. */
static int identify(int folder, const char *name, int flags, char *text, size_t size)
{
    struct statx status;
    if (statx(folder, name, flags, STATX_TYPE | STATX_INO | STATX_BTIME, &status) != 0)
        return -1;
    if (!(status.stx_mask & STATX_BTIME)) {
        errno = ENOTSUP;
        give_up("this file system does not know when a file was made");
    }
    snprintf(text, size, "%llu-%lld-%u", (unsigned long long)status.stx_ino, (long long)status.stx_btime.tv_sec,
             status.stx_btime.tv_nsec);
    return S_ISREG(status.stx_mode) ? 0 : 1;
}

static void copy_content(int from, int to)
{
    struct stat status;
    if (fstat(from, &status) != 0)
        give_up("fstat");
    off_t offset = 0;
    while (offset < status.st_size) {
        ssize_t sent = sendfile(to, from, &offset, status.st_size - offset);
        if (sent < 0 && errno != EINTR)
            give_up("cannot copy a file that is synced");
        if (sent == 0)
            break; /* it was cut short meanwhile */
    }
}

static void copy_entries(int from, int to)
{
    char identity[80];
    int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = again < 0 ? NULL : fdopendir(again);
    if (folder == NULL)
        give_up("cannot list a folder that is synced");
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (identify(again, entry->d_name, AT_SYMLINK_NOFOLLOW, identity, sizeof identity) != 0)
            continue;
        if (dprintf(to, "%s %s\n", identity, entry->d_name) < 0)
            give_up("cannot write down the names");
    }
    closedir(folder);
}

static int keep(int descriptor, sync_call sync, const char *to, const char *name, copy_call copy)
{
    int lock = open_in(to, name, ".lock", O_RDWR);
    while (flock(lock, LOCK_EX) != 0)
        if (errno != EINTR)
            give_up("flock");
    int fresh = open_in(to, name, ".new", O_WRONLY | O_TRUNC);
    copy(descriptor, fresh);
    close(fresh);
    int result = sync(descriptor), error = errno;
    char before[PATH_MAX], after[PATH_MAX];
    snprintf(before, sizeof before, "%s/%s.new", to, name);
    snprintf(after, sizeof after, "%s/%s", to, name);
    if (result == 0 && rename(before, after) != 0)
        give_up("rename");
    flock(lock, LOCK_UN); /* said, not left to close(): a child of fork() may have the descriptor, too */
    close(lock);
    errno = error;
    return result;
}

/* Sync, and keep what is synced if it is in `from`. */
static int sync_and_keep(int descriptor, sync_call sync, const char *from, const char *to)
{
    char link[64], path[PATH_MAX], identity[80];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return sync(descriptor);
    path[length] = '\0';
    if (strcmp(path, from) == 0)
        return keep(descriptor, sync, to, "entries", copy_entries);
    char *slash = strrchr(path, '/');
    if (slash == NULL || (size_t)(slash - path) != strlen(from) || strncmp(path, from, slash - path) != 0)
        return sync(descriptor);
    if (identify(descriptor, "", AT_EMPTY_PATH, identity, sizeof identity) != 0)
        return sync(descriptor);
    return keep(descriptor, sync, to, identity, copy_content);
}

static int intercepted(int descriptor, const char *name)
{
    sync_call sync = (sync_call)dlsym(RTLD_NEXT, name);
    const char *from = getenv("SYNCED_FROM"), *to = getenv("SYNCED_TO");
    if (from == NULL || to == NULL)
        return sync(descriptor);
    return sync_and_keep(descriptor, sync, from, to);
}

int fsync(int descriptor)
{
    return intercepted(descriptor, "fsync");
}

int fdatasync(int descriptor)
{
    return intercepted(descriptor, "fdatasync");
}

/* --- for whoever loads this as a library --------------------------------------------------------------------- */

static int nothing(int descriptor)
{
    (void)descriptor;
    return 0;
}

/* Keep a file or folder as if it had just been synced. */
int keep_now(int descriptor, const char *from, const char *to)
{
    return sync_and_keep(descriptor, nothing, from, to);
}

/* The identity of an open file. */
int identity_of(int descriptor, char *text, size_t size)
{
    return identify(descriptor, "", AT_EMPTY_PATH, text, size);
}
