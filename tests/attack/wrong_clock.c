/* A wall clock that is wrong by as many seconds as the file in $WRONG_CLOCK says: a number of 8 bytes, mapped, so that
 * the clock jumps when a test writes another one. To be preloaded. Clocks that only count on stay right, as they do
 * on a host whose clock is set. Files were written by that clock, too: their times are off by the same.
 *
 * Not libfaketime: Debian 12's (0.9.10) breaks Python's time.sleep where the monotonic clock isn't faked
 * (https://github.com/wolfcw/libfaketime/issues/426), and where it is, that clock jumps, too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t none;
static const volatile int64_t *ahead_s = &none;

__attribute__((constructor)) static void find_clock(void) {
    const char *path = getenv("WRONG_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *ahead_s, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) ahead_s = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead_s;
    return failed;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *where, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    where->tv_sec = now.tv_sec;
    where->tv_usec = now.tv_nsec / 1000;
    return 0;
}

#define SHOWN(name, parameters, ...)                                                               \
    int name parameters {                                                                          \
        int(*real) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #name);                        \
        int failed = real(__VA_ARGS__);                                                            \
        if (!failed) {                                                                             \
            found->st_mtim.tv_sec += *ahead_s;                                                     \
            found->st_ctim.tv_sec += *ahead_s;                                                     \
            found->st_atim.tv_sec += *ahead_s;                                                     \
        }                                                                                          \
        return failed;                                                                             \
    }
#define SHOWN_BOTH(name, parameters, parameters64, ...)                                            \
    SHOWN(name, parameters, __VA_ARGS__)                                              \
    SHOWN(name##64, parameters64, __VA_ARGS__)

SHOWN_BOTH(stat, (const char *path, struct stat *found), (const char *path, struct stat64 *found), path, found)
SHOWN_BOTH(lstat, (const char *path, struct stat *found), (const char *path, struct stat64 *found), path, found)
SHOWN_BOTH(fstat, (int file, struct stat *found), (int file, struct stat64 *found), file, found)
SHOWN_BOTH(fstatat, (int in, const char *path, struct stat *found, int flags),
           (int in, const char *path, struct stat64 *found, int flags), in, path, found, flags)
