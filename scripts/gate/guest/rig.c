/*
 * The hands of the emulated gate's tester inside the gate, where a shell is too slow or has no
 * word for it. Statically linked; part of the rig, never of the product.
 *
 *   rig feed DEVICE SCENE WIDTH HEIGHT FPS
 *                                   writes the .jpg pictures of the folder SCENE (a link may be
 *                                   changed while it runs) as MJPEG frames, in name order, looped
 *   rig wiegand D0 D1 BITS PULSE_US INTERVAL_US
 *                                   sends BITS by the `pull` files of two gpio-sim lines that idle
 *                                   high, then prints the longest pulse and interval
 *   rig pull FILE MS                pulls a gpio-sim line away from where it idles for MS
 *   rig watch FILE MS               prints "NANOSECONDS LEVEL" now and at each change of a gpio-sim
 *                                   `value` file, by CLOCK_MONOTONIC, for MS
 *   rig control DEVICE ID VALUE     sets a V4L2 control (vivid's Disconnect is one)
 *   rig reach SOCKET [UID]          connects to a Unix socket, as the user and group of the number UID
 *                                   and in no other group; prints "reached" or why not
 *   rig node NAME                   prints the /dev/videoN whose sysfs name is NAME, each on a line
 *
 * Sources: Documentation/admin-guide/gpio/gpio-sim.rst, linux/videodev2.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/videodev2.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    fprintf(stderr, "rig: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Sleeps while there is time for it, then spins: a pulse has 50 microseconds. */
static void until(int64_t moment) {
    int64_t left;
    while ((left = moment - now()) > 0) {
        if (left > 300000) {
            left -= 200000;
            struct timespec t = {left / 1000000000, left % 1000000000};
            nanosleep(&t, NULL);
        }
    }
}

static int open_or_fail(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) fail(path);
    return fd;
}

static long number(const char *text) {
    char *end;
    long value = strtol(text, &end, 0);
    if (*text == 0 || *end != 0) {
        fprintf(stderr, "rig: %s is no number\n", text);
        exit(2);
    }
    return value;
}

/* ---- cameras ---- */

static int is_jpeg(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".jpg") == 0;
}

static _Noreturn void feed(const char *device, const char *scene, long width, long height, long fps) {
    static uint8_t picture[1 << 20];
    int fd = open_or_fail(device, O_RDWR);
    struct v4l2_format format;
    memset(&format, 0, sizeof format);
    format.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
    format.fmt.pix.width = (uint32_t)width;
    format.fmt.pix.height = (uint32_t)height;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_MJPEG;
    format.fmt.pix.sizeimage = sizeof picture;
    format.fmt.pix.field = V4L2_FIELD_NONE;
    format.fmt.pix.colorspace = V4L2_COLORSPACE_JPEG;
    if (ioctl(fd, VIDIOC_S_FMT, &format) < 0) fail("VIDIOC_S_FMT");
    struct v4l2_streamparm rate;
    memset(&rate, 0, sizeof rate);
    rate.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
    rate.parm.output.timeperframe = (struct v4l2_fract){1, (uint32_t)fps};
    (void)ioctl(fd, VIDIOC_S_PARM, &rate);
    int64_t next = now();
    for (;;) {
        /* The link is resolved once a round, so that a round shows one scene. */
        char folder[PATH_MAX], path[PATH_MAX + 256];
        struct dirent **entries;
        int count = realpath(scene, folder) == NULL ? -1 : scandir(folder, &entries, is_jpeg, alphasort);
        if (count < 0) fail(scene);
        if (count == 0) {
            errno = ENOENT;
            fail(folder);
        }
        for (int i = 0; i < count; i++) {
            char here[PATH_MAX];
            if (realpath(scene, here) == NULL || strcmp(here, folder) != 0) break;
            snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
            int file = open_or_fail(path, O_RDONLY);
            ssize_t size = read(file, picture, sizeof picture);
            close(file);
            if (size <= 0 || size == sizeof picture) fail(path);
            if (write(fd, picture, (size_t)size) != size) fail(device);
            next += 1000000000 / fps;
            if (next < now()) next = now();
            until(next);
        }
        for (int i = 0; i < count; i++) free(entries[i]);
        free(entries);
    }
}

static int control(const char *device, long id, long value) {
    struct v4l2_control control = {.id = (uint32_t)id, .value = (int32_t)value};
    if (ioctl(open_or_fail(device, O_RDWR), VIDIOC_S_CTRL, &control) < 0) fail("VIDIOC_S_CTRL");
    return 0;
}

static int node(const char *wanted) {
    struct dirent **entries;
    int found = 0, count = scandir("/sys/class/video4linux", &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[512], name[128] = "";
        snprintf(path, sizeof path, "/sys/class/video4linux/%s/name", entries[i]->d_name);
        int fd = open(path, O_RDONLY);
        if (fd < 0) continue;
        ssize_t size = read(fd, name, sizeof name - 1);
        close(fd);
        if (size > 0 && name[size - 1] == '\n') name[size - 1] = 0;
        if (strcmp(name, wanted) == 0) {
            printf("/dev/%s\n", entries[i]->d_name);
            found = 1;
        }
    }
    return !found;
}

/* ---- sockets ---- */

static int reach(const char *path, long user) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "rig: the path is too long\n");
        return 2;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    if (user >= 0 && (setgroups(0, NULL) < 0 || setgid((gid_t)user) < 0 || setuid((uid_t)user) < 0)) fail("setuid");
    printf("%s\n", connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? strerror(errno) : "reached");
    return 0;
}

/* ---- lines ---- */

static void pull(int fd, int high) {
    const char *word = high ? "pull-up" : "pull-down";
    if (pwrite(fd, word, strlen(word), 0) < 0) fail("pull");
}

static int pulls_up(int fd) {
    char word[16] = "";
    if (pread(fd, word, sizeof word - 1, 0) <= 0) fail("pull");
    return strncmp(word, "pull-up", 7) == 0;
}

static int wiegand(const char *d0, const char *d1, const char *bits, long pulse_us, long interval_us) {
    int lines[2] = {open_or_fail(d0, O_RDWR), open_or_fail(d1, O_RDWR)};
    /* Before ordinary programs, but behind the kernel's interrupt threads (50): they take what is sent here. */
    struct sched_param first = {.sched_priority = 40};
    (void)sched_setscheduler(0, SCHED_FIFO, &first);
    int64_t next = now() + 1000000, before = 0, pulse_max = 0, interval_max = 0;
    for (const char *bit = bits; *bit != 0; bit++) {
        if (*bit != '0' && *bit != '1') {
            fprintf(stderr, "rig: bits are 0 and 1\n");
            return 2;
        }
        int fd = lines[*bit - '0'];
        until(next);
        int64_t down = now();
        pull(fd, 0);
        until(down + pulse_us * 1000);
        pull(fd, 1);
        int64_t up = now();
        if (up - down > pulse_max) pulse_max = up - down;
        if (before != 0 && down - before > interval_max) interval_max = down - before;
        before = down;
        /* From the pulse that was, not from the plan: a late one must not press the next. */
        next = down + interval_us * 1000;
    }
    printf("pulse %lld us, interval %lld us\n", (long long)pulse_max / 1000, (long long)interval_max / 1000);
    return 0;
}

static int pull_for(const char *path, long ms) {
    int fd = open_or_fail(path, O_RDWR);
    int idle = pulls_up(fd);
    int64_t from = now();
    pull(fd, !idle);
    until(from + ms * 1000000);
    pull(fd, idle);
    return 0;
}

static int watch(const char *path, long ms) {
    int fd = open_or_fail(path, O_RDONLY);
    int64_t end = now() + ms * 1000000;
    char last = 0;
    for (int64_t next = now(); next < end; next += 1000000) {
        char level;
        if (pread(fd, &level, 1, 0) != 1) fail(path);
        if (level != last) {
            printf("%lld %c\n", (long long)now(), level);
            fflush(stdout);
        }
        last = level;
        until(next);
        if (next < now() - 1000000) next = now();
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 7 && !strcmp(what, "feed")) feed(argv[2], argv[3], number(argv[4]), number(argv[5]), number(argv[6]));
    if (argc == 7 && !strcmp(what, "wiegand")) return wiegand(argv[2], argv[3], argv[4], number(argv[5]), number(argv[6]));
    if (argc == 4 && !strcmp(what, "pull")) return pull_for(argv[2], number(argv[3]));
    if (argc == 4 && !strcmp(what, "watch")) return watch(argv[2], number(argv[3]));
    if (argc == 5 && !strcmp(what, "control")) return control(argv[2], number(argv[3]), number(argv[4]));
    if (argc == 3 && !strcmp(what, "node")) return node(argv[2]);
    if ((argc == 3 || argc == 4) && !strcmp(what, "reach")) return reach(argv[2], argc == 4 ? number(argv[3]) : -1);
    fprintf(stderr, "usage: rig feed|wiegand|pull|watch|control|node|reach …\n");
    return 2;
}
