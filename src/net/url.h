/* The target of a request: a path and its query, percent-decoded strictly. */
#ifndef NET_URL_H
#define NET_URL_H

#include <stdbool.h>

/* Decodes %XX in place; '+' becomes a space if `plus`. False for an incomplete or wrong escape, an encoded NUL, a
 * control character or ill-formed UTF-8. */
bool url_decode(char *text, bool plus);

/* Splits "/path?a=b&c" in place: *query is what stands behind the '?', or "". False unless it begins with '/'. The path
 * is decoded, the query is not. */
bool url_split(char *target, char **query);

/* Takes the next name and value off *query, decoded in place; false at the end. *valid becomes false for a bad escape.
 */
bool url_next(char **query, char **name, char **value, bool *valid);

#endif
