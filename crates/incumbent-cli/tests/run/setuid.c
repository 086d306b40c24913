/* A program whose file belongs to root and is setuid: it becomes root where that is allowed, ignores SIGTERM, and
   says who it is. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
    signal(SIGTERM, SIG_IGN);
    int is_root = setresuid(0, 0, 0) == 0;
    printf("{\"event\":\"up\",\"pid\":%d,\"parent\":%d,\"token\":%s,\"root\":%s}\n", getpid(), getppid(),
           getenv("INCUMBENT_TOKEN"), is_root ? "true" : "false");
    fflush(stdout);
    for (;;) pause();
}
