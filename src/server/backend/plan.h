/* plan.h - the backend that runs our own plans. */
#ifndef SERVER_BACKEND_PLAN_H
#define SERVER_BACKEND_PLAN_H

#include "server/backend/backend.h"

extern const struct backend plan_backend;

#endif
