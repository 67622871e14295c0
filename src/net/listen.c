#include "net/listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool read_address(const char *text, int port, union address *address, socklen_t *size)
{
    memset(address, 0, sizeof *address);
    if (strcmp(text, "localhost") == 0)
        text = "127.0.0.1";
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        *size = sizeof address->v4;
        return true;
    }
    if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons((uint16_t)port);
        *size = sizeof address->v6;
        return true;
    }
    return false;
}

bool net_is_loopback(const char *text)
{
    union address address;
    socklen_t size;
    if (!read_address(text, 0, &address, &size))
        return false;
    if (address.any.sa_family == AF_INET)
        return ntohl(address.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (IN6_IS_ADDR_V4MAPPED(&address.v6.sin6_addr))
        return address.v6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&address.v6.sin6_addr);
}

goss_status net_listen(const char *text, int *port, int *out, goss_error *error)
{
    union address address;
    socklen_t size;
    const int one = 1;
    *out = -1;
    if (!read_address(text, *port, &address, &size))
        return error_set(error, GOSS_E_ARGUMENT, "'%.100s' is no IPv4 or IPv6 address, and names are not looked up",
                         text);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(error, text, "cannot make a socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, &address.any, size) || listen(fd, BACKLOG) || getsockname(fd, &address.any, &size)) {
        goss_status status = error_errno(error, text, "cannot listen");
        (void)close(fd);
        return status;
    }
    *port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    *out = fd;
    return GOSS_OK;
}
