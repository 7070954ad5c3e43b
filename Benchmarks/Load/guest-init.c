// The first process of the machine that `load --only emulated` starts: it makes the host's files its own, looks whether the
// clock counts instructions, runs the command in /command, a word a line, and turns the machine off.
//
// The host's root is read over 9p and can be changed by nobody here: what is written stays in memory and is gone with the
// machine. /run is a file system in memory by itself, so that a log that is written there costs no detour.

#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 32, COMMAND_BYTES = 8192, DESCRIPTORS = 65536 };

static void off(void) {
    tcdrain(STDERR_FILENO);
    reboot(RB_POWER_OFF);
    _exit(1);
}

static void must(long result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
    off();
}

static void put(const char *type, const char *source, const char *place, const char *options) {
    mkdir(place, 0755);
    must(mount(source, place, type, 0, options), place);
}

// Debian has as modules what a disk or a network needs: Load/emulated.py has put them here in their order.
static void load_modules(void) {
    for (int number = 0;; number++) {
        char name[32];
        snprintf(name, sizeof name, "/modules/%d", number);
        int file = open(name, O_RDONLY | O_CLOEXEC);
        if (file < 0) return;
        must(syscall(SYS_finit_module, file, "", 0), name);
        close(file);
    }
}

// The whole method stands on this: the kernel's account of CPU time, in nanoseconds, is a number of instructions. 80 million
// of them must be 80 million ns, but for the timer's interrupts, of which there is one in 4 million.
static void look_at_the_clock(void) {
    const long rounds = 20 * 1000 * 1000, wanted = 4 * rounds;
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    long left = rounds;
    __asm__ volatile("1: dec %0\n nop\n nop\n jnz 1b" : "+r"(left));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    long told = (after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec;
    if (told >= wanted && told < wanted + wanted / 100) return;
    fprintf(stderr, "guest: %ld instructions took %ld ns: this clock does not count them\n", wanted, told);
    off();
}

// Without them SHA-256 would cost eight times what it does on the processors of today.
static void look_at_the_processor(void) {
    unsigned a, b = 0, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_SHA) return;
    fprintf(stderr, "guest: this processor has no SHA instructions\n");
    off();
}

int main(void) {
    put("devtmpfs", "dev", "/dev", "");
    int console = open("/dev/ttyS0", O_RDWR);
    for (int file = 0; file < 3; file++) dup2(console, file);
    look_at_the_clock();
    look_at_the_processor();
    load_modules();
    static char text[COMMAND_BYTES];
    int file = open("/command", O_RDONLY | O_CLOEXEC);
    must(read(file, text, sizeof text - 1), "/command");
    char *words[WORDS + 1] = {0}, *rest = text;
    for (int count = 0; count < WORDS && rest; count++) words[count] = strsep(&rest, "\n");
    put("9p", "host", "/host", "trans=virtio,version=9p2000.L,cache=loose,msize=524288,ro");
    put("tmpfs", "written", "/written", "");
    must(mkdir("/written/files", 0755) | mkdir("/written/work", 0755), "/written");
    put("overlay", "overlay", "/all", "lowerdir=/host,upperdir=/written/files,workdir=/written/work");
    put("proc", "proc", "/all/proc", "");
    put("sysfs", "sys", "/all/sys", "");
    put("devtmpfs", "dev", "/all/dev", "");
    put("tmpfs", "shm", "/all/dev/shm", "");
    put("tmpfs", "run", "/all/run", "");
    must(chroot("/all"), "chroot");
    must(chdir("/"), "/");
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    must(ioctl(sock, SIOCSIFFLAGS, &loopback), "the loopback");
    // The second port is the line to the host: bytes as they are.
    int line = open("/dev/ttyS1", O_RDWR);
    must(line, "/dev/ttyS1");
    struct termios raw;
    must(tcgetattr(line, &raw), "/dev/ttyS1");
    cfmakeraw(&raw);
    must(tcsetattr(line, TCSANOW, &raw), "/dev/ttyS1");
    struct rlimit descriptors = {DESCRIPTORS, DESCRIPTORS};
    must(setrlimit(RLIMIT_NOFILE, &descriptors), "the limit of descriptors");
    pid_t child = fork();
    must(child, "fork");
    if (child == 0) {
        dup2(line, STDIN_FILENO);
        dup2(line, STDOUT_FILENO);
        setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        setenv("TMPDIR", "/run", 1);
        setenv("LANG", "C.UTF-8", 1);
        execv(words[0], words);
        must(-1, words[0]);
    }
    // What its children leave behind ends here too.
    int status;
    while (wait(&status) != child) continue;
    fprintf(stderr, "guest: the command ended with %d\n", status);
    off();
}
