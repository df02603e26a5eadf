/* process.h - the driver that runs replicas as processes of this machine.
 *
 * A replica listens on a socket of 127.0.0.1 that the driver opened and passes on as
 * descriptor 3, with LISTEN_FDS=1, LISTEN_PID and AIP_HTTP_PORT in its environment. The driver
 * keeps the socket too, so that clients of a replica that is started again wait and are not
 * refused. Replicas are sessions of their own and outlive the driver; the next one adopts them
 * from the state folder: a replica is recorded (process id, start time, boot) before it runs its
 * first instruction, and a process id that was given to somebody else is told by the start time. */
#ifndef CONTROL_RUNTIME_PROCESS_H
#define CONTROL_RUNTIME_PROCESS_H

#include "control/runtime/runtime.h"

enum {
    REPLICA_LOG_SIZE_MAX = 8 << 20, /* bytes; then the log becomes NAME.log.1 */
    REPLICA_LOGS_MAX = 256,         /* log files kept, those of running replicas not counted */

    PROBE_FIRST_MS = 5, /* while starting; doubled up to PROBE_INTERVAL_MS */
    PROBE_INTERVAL_MS = 1000,
    PROBE_TIMEOUT_MS = 1000,
    PROBE_FAILURES_MAX = 2, /* in a row make a ready replica unready; one success readies it */
    PROBE_HUNG_MAX = 30,    /* time-outs in a row after which the replica is killed */

    RESTART_FIRST_MS = 1000, /* the second exit in a row before ready waits so long, then doubled */
    RESTART_MAX_MS = 300000,
    RESTART_READY_FIRST_MS = 100, /* the same for a replica that was ready in between */
    RESTART_READY_MAX_MS = 1000,
    RESTART_PARDON_MS = 2000, /* ready so long: the next exit is the first again */

    STOP_DELAY_MS = 300, /* from "stopping", which takes it out of the routes, to SIGTERM */
};

struct process_options {
    const char *folder;      /* state and logs, made where missing */
    const char *path;        /* of the program */
    const char *const *argv; /* its words, argv[0] included; NULL-terminated */
};

/* Adopts the replicas that the state folder names. */
NODISCARD status process_runtime_open(struct runtime **out, const struct process_options *o,
                                      struct error *err);

#endif
