/* Listening sockets: the only place of the program that makes a socket. Addresses are numbers (or localhost), since
 * there is no code here that could ask for a name. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include <stdbool.h>

#include "base/error.h"

/* Binds and listens. address: "127.0.0.1", "::1", "0.0.0.0" .. or "localhost"; port 0: any free one. *port becomes the
 * one in use. The caller owns *socket. */
goss_status net_listen(const char *address, int *port, int *socket, goss_error *error);

/* Whether only this machine can reach the address. */
bool net_is_loopback(const char *address);

#endif
