/* Preloaded, it makes each fsync() and fdatasync() take SYNC_DELAY_US microseconds longer: a slower disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

typedef int (*sync_call)(int);

static sync_call real_fsync, real_fdatasync;
static struct timespec delay;

__attribute__((constructor)) static void prepare(void)
{
    const char *text = getenv("SYNC_DELAY_US");
    long microseconds = text ? atol(text) : 0;
    delay.tv_sec = microseconds / 1000000;
    delay.tv_nsec = microseconds % 1000000 * 1000;
    real_fsync = (sync_call)dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (sync_call)dlsym(RTLD_NEXT, "fdatasync");
}

static int slowly(sync_call call, int descriptor)
{
    struct timespec left = delay;
    int result = call(descriptor), reason = errno;
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
    errno = reason;
    return result;
}

int fsync(int descriptor)
{
    return slowly(real_fsync, descriptor);
}

int fdatasync(int descriptor)
{
    return slowly(real_fdatasync, descriptor);
}
