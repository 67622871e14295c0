/* gossamer serve: opens the model and a port, gives up every other way out of the process, and answers until it is told
 * to stop. */
#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "command.h"
#include "machine.h"
#include "net/listen.h"
#include "places.h"
#include "prompt.h"
#include "terminal.h"

enum {
    TLS_LIMIT = 1 << 20,
    RECALL_BYTES = 256 << 20,
    DRAIN_MS = 10000,
    LEAST_CONTEXT = 8192,
    OTHER_FILES = 256, /* open, beside one for each connection: the store, and connections that are told there are too
                          many */
    NAMES = 16,        /* of --allow-host and --allow-origin each */
    KEEP_DAYS = 30,    /* stored responses */
    EXIT_AT_ONCE = 130,
};

/* What stands between the command line and a running server. */
struct opening {
    struct serve *serve;
    const struct arguments *arguments;
    struct net_options net;
    int port;
    char *store_folder;
    uint8_t *certificate, *tls_key; /* PEM */
    char *lists[2];                 /* the texts of --allow-host and --allow-origin, cut up */
    const char *names[2][NAMES + 1];
    sigset_t signals; /* that end it */
};

/* ---- options ---- */

static goss_status read_list(struct opening *o, int which, enum option_id id, struct name_list *list, goss_error *error)
{
    const char *text = o->arguments->value[id].text;
    char *save = NULL;
    list->name = o->names[which];
    if (!text)
        return GOSS_OK;
    if (!(o->lists[which] = strdup(text)))
        return error_memory(error, strlen(text), "a list");
    for (char *name = strtok_r(o->lists[which], ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        if (list->n == NAMES)
            return error_set(error, GOSS_E_LIMIT, "--%s: more than %d names", option_table[id].name, NAMES);
        o->names[which][list->n++] = name;
    }
    return GOSS_OK;
}

static goss_status read_pem(const char *path, uint8_t **text, goss_error *error)
{
    size_t size;
    return path ? file_read(path, TLS_LIMIT, text, &size, error) : GOSS_OK;
}

/* An address that others can reach needs a key and TLS, or the operator's word that neither is wanted. */
static goss_status check_exposure(const struct opening *o, goss_error *error)
{
    const struct value *value = o->arguments->value;
    const char *host = value[OPTION_HOST].text;
    bool cert = value[OPTION_TLS_CERT].text, key = value[OPTION_TLS_KEY].text;
    if (cert != key)
        return error_set(error, GOSS_E_ARGUMENT, "--tls-cert and --tls-key go together");
    if (net_is_loopback(host) || value[OPTION_ALLOW_INSECURE].given)
        return GOSS_OK;
    if (!value[OPTION_API_KEY_FILE].text)
        return error_set(error, GOSS_E_ARGUMENT,
                         "--host %.64s: others can reach it, so --api-key-file is needed (or --allow-insecure)", host);
    if (!cert)
        return error_set(error, GOSS_E_ARGUMENT,
                         "--host %.64s: keys would travel in the clear, so --tls-cert and --tls-key are needed (or "
                         "--allow-insecure)",
                         host);
    return GOSS_OK;
}

/* Shells start programs with room for 1,024 open files, though they may have more. */
static goss_status make_room(int connections, goss_error *error)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return error_errno(error, "the server", "cannot ask how many files it may open");
    if (limit.rlim_cur >= need)
        return GOSS_OK;
    if (limit.rlim_max < need)
        return error_set(error, GOSS_E_LIMIT, "--connections %d: needs %llu open files, and this process may have %llu",
                         connections, (unsigned long long)need, (unsigned long long)limit.rlim_max);
    limit.rlim_cur = need;
    return setrlimit(RLIMIT_NOFILE, &limit) ? error_errno(error, "the server", "cannot open more files") : GOSS_OK;
}

static goss_status read_options(struct opening *o, goss_error *error)
{
    const struct value *value = o->arguments->value;
    goss_status status = check_exposure(o, error);
    if (!status && value[OPTION_API_KEY_FILE].text)
        status = net_keys_open(&o->serve->keys, value[OPTION_API_KEY_FILE].text, error);
    if (!status)
        status = read_pem(value[OPTION_TLS_CERT].text, &o->certificate, error);
    if (!status)
        status = read_pem(value[OPTION_TLS_KEY].text, &o->tls_key, error);
    if (!status)
        status = read_list(o, 0, OPTION_ALLOW_HOST, &o->net.hosts, error);
    if (!status)
        status = read_list(o, 1, OPTION_ALLOW_ORIGIN, &o->net.origins, error);
    if (!status)
        status = prompt_date(o->arguments, o->serve->date, error);
    if (!status)
        status = make_room((int)value[OPTION_CONNECTIONS].whole, error);
    if (status)
        return status;
    o->names[0][o->net.hosts.n++] = value[OPTION_HOST].text;
    o->net.keys = o->serve->keys;
    o->net.open_path = "/health";
    o->net.certificate = (const char *)o->certificate;
    o->net.tls_key = (const char *)o->tls_key;
    o->net.limits = net_limits_default();
    o->net.limits.connections = (int)value[OPTION_CONNECTIONS].whole;
    o->port = (int)value[OPTION_PORT].whole;
    return GOSS_OK;
}

/* ---- opening, in the order in which doors must be open ---- */

static goss_status open_store(struct opening *o, goss_error *error)
{
    const struct value *value = o->arguments->value;
    struct serve *serve = o->serve;
    if (value[OPTION_NO_STORE].given)
        return GOSS_OK;
    goss_status status = GOSS_OK;
    if (value[OPTION_STORE].text)
        o->store_folder = strdup(value[OPTION_STORE].text);
    else
        status = home_path(".local/share/gossamer/responses", &o->store_folder, error);
    if (!status && !o->store_folder)
        status = error_memory(error, 0, "a path");
    if (!status)
        status = file_make_directories(o->store_folder, error);
    char *path = status ? NULL : file_join(o->store_folder, "responses.sqlite");
    if (!status && !path)
        status = error_memory(error, 0, "a path");
    if (!status)
        status = store_open(&serve->store, path, 0, error);
    if (!status)
        status = serve_stored_tidy(serve->store, serve->started, KEEP_DAYS, error);
    free(path);
    return status;
}

/* From here on only files of the store can be written, and only what the C library wants to know of the machine can be
 * read; the model is mapped already. */
static goss_status close_doors(struct opening *o, goss_error *error)
{
    static const char *const readable[] = {"/sys/devices/system/cpu",
                                           "/sys/fs/cgroup",
                                           "/proc/self",
                                           "/proc/meminfo",
                                           "/proc/cpuinfo",
                                           "/proc/stat",
                                           "/proc/sys/vm/overcommit_memory",
                                           "/dev/urandom",
                                           "/etc/localtime"};
    const char *const writable[] = {o->store_folder};
    struct sandbox_rules rules = {.readable = readable,
                                  .n_readable = sizeof readable / sizeof *readable,
                                  .writable = writable,
                                  .n_writable = o->store_folder ? 1 : 0,
                                  .pairs_of_streams = o->certificate}; /* TLS hands a WebSocket on through one */
    return sandbox_enter(&rules, &o->serve->sandbox, error);
}

/* The longest context of which one sequence fits in a quarter of the free memory (the GPU's if that computes), and room
 * for --parallel of them as far as that goes. */
static void plan_memory(const struct opening *o, struct engine_options *options)
{
    const struct model_config *config = &o->serve->session.model->config;
    const struct backend_table *table = o->serve->session.table;
    struct machine machine;
    machine_read(&machine);
    uint64_t free_bytes = table->memory ? table->memory(o->serve->session.model, session_gpu_bytes(o->arguments))
                                        : machine.memory_free_bytes;
    uint64_t most = free_bytes / 4, one = table->kv_bytes(config, 1, 0);
    uint64_t ring = table->kv_bytes(config, 0, 1) * (uint64_t)options->max_sequences;
    int context = config->max_context;
    while (context > LEAST_CONTEXT && one * ((uint64_t)context / KV_PAGE + 2) + ring > most)
        context /= 2;
    if (o->arguments->value[OPTION_CONTEXT].given)
        context = (int)o->arguments->value[OPTION_CONTEXT].whole;
    uint64_t each = one * ((uint64_t)context / KV_PAGE + 2), all = each * (uint64_t)options->max_sequences;
    options->context = context;
    if (all + ring > most && each + ring <= most)
        options->kv_bytes = most;
}

static goss_status open_engine(struct opening *o, goss_error *error)
{
    struct serve *serve = o->serve;
    const struct value *value = o->arguments->value;
    struct engine_options options = {.max_sequences = (int)value[OPTION_PARALLEL].whole,
                                     .lookup = session_lookup(o->arguments)};
    plan_memory(o, &options);
    goss_status status = session_open_engine(&serve->session, o->arguments, &options, error);
    struct service_options service = {.max_running = options.max_sequences,
                                      .max_waiting = (int)value[OPTION_QUEUE].whole};
    if (serve->keys)
        service.max_owner = (service.max_waiting + 1) / 2;
    if (!status)
        status = service_open(&serve->service, serve->session.engine, &serve->harmony, &service, error);
    return status;
}

/* "models/demo.goss" is served as demo unless --name says otherwise. */
static goss_status name_model(struct opening *o, goss_error *error)
{
    struct serve *serve = o->serve;
    const char *name = o->arguments->value[OPTION_NAME].text, *path = serve->session.path;
    struct stat found;
    if (!name) {
        size_t n = strlen(path);
        while (n > 1 && path[n - 1] == '/')
            n--;
        size_t begin = n;
        while (begin > 0 && path[begin - 1] != '/')
            begin--;
        const char *const endings[] = {".goss", ".gguf"};
        for (int i = 0; i < 2; i++)
            if (n - begin > 5 && strncmp(path + n - 5, endings[i], 5) == 0) {
                n -= 5;
                break;
            }
        serve->model.name = strndup(path + begin, n - begin);
    } else {
        serve->model.name = strdup(name);
    }
    serve->model.created = stat(path, &found) ? serve->started : (int64_t)found.st_mtime;
    return serve->model.name ? GOSS_OK : error_memory(error, 0, "a name");
}

static void log_access(void *argument, const struct net_access *a)
{
    const struct serve *serve = argument;
    struct tm day;
    time_t now = time(NULL);
    char time_text[32];
    if (!serve->log)
        return;
    (void)gmtime_r(&now, &day);
    (void)strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%SZ", &day);
    (void)fprintf(stderr, "%s %s %s %s %.200s %d%s in %zu out %zu %.3fs %s\n", time_text, a->peer, a->caller, a->method,
                  a->path, a->status, a->complete ? "" : " aborted", a->body_bytes, a->answer_bytes, a->seconds, a->id);
}

static void set_up(struct opening *o)
{
    struct serve *serve = o->serve;
    const struct value *value = o->arguments->value;
    serve->log = !value[OPTION_QUIET].given;
    serve->model.context = engine_context(serve->session.engine);
    serve->settings = (struct api_settings){.model = serve->model.name,
                                            .date = *serve->date ? serve->date : NULL,
                                            .effort = prompt_effort(o->arguments),
                                            .n_vocab = serve->session.model->config.n_vocab};
    o->net.handle = serve_handle;
    o->net.log = log_access;
    o->net.argument = serve;
}

static goss_status open_serve(struct opening *o, goss_error *error)
{
    struct serve *serve = o->serve;
    goss_status status = read_options(o, error);
    if (!status)
        status = session_open_model(&serve->session, o->arguments, error);
    if (!status)
        status = session_open_tokenizer(&serve->session, error);
    if (!status)
        status = session_open_vocabulary(&serve->session, error);
    if (!status)
        status = harmony_open(&serve->harmony, serve->session.tokenizer, error);
    if (!status)
        status = name_model(o, error);
    if (!status)
        status = recall_open(&serve->recall, RECALL_BYTES, error);
    if (!status)
        status = open_store(o, error);
    if (!status)
        status = net_listen(o->arguments->value[OPTION_HOST].text, &o->port, &o->net.socket, error);
    (void)pthread_sigmask(SIG_BLOCK, &o->signals, NULL); /* before there are threads, so that only sigwait gets them */
    if (!status)                                         /* a GPU's driver has to be opened while files can be */
        status = session_choose_backend(&serve->session, o->arguments, error);
    if (!status)
        status = close_doors(o, error);
    if (!status)
        status = open_engine(o, error);
    if (!status) {
        int socket = o->net.socket;
        set_up(o);
        o->net.socket = -1; /* the server's from here on */
        struct net_options net = o->net;
        net.socket = socket;
        status = net_server_open(&serve->net, &net, error);
    }
    return status;
}

/* ---- running ---- */

static void describe_sandbox(const struct sandbox_report *sandbox)
{
    (void)printf("outbound connections: %s; files: %s\n",
                 sandbox->calls ? "refused by the kernel" : "NOT refused, this kernel lacks seccomp",
                 sandbox->landlock ? "confined to the store" : "NOT confined, this kernel lacks Landlock");
}

static void greet(const struct opening *o)
{
    const struct serve *serve = o->serve;
    const char *host = o->arguments->value[OPTION_HOST].text;
    const char *scheme = o->certificate ? "https" : "http";
    bool v6 = strchr(host, ':') != NULL;
    const char *left = v6 ? "[" : "", *right = v6 ? "]" : "";
    const char *key = serve->keys ? " -H \"Authorization: Bearer $KEY\"" : "";
    (void)printf("%s at %s://%s%s%s:%d/v1, %d tokens of context\n", serve->model.name, scheme, left, host, right,
                 o->port, serve->model.context);
    describe_sandbox(&serve->sandbox);
    (void)printf("  curl %s://%s%s%s:%d/v1/chat/completions%s \\\n    -d '{\"messages\":[{\"role\":\"user\","
                 "\"content\":\"Hello\"}]}'\n",
                 scheme, left, host, right, o->port, key);
    (void)fflush(stdout);
}

/* Waits for SIGTERM or SIGINT; then answers under way have DRAIN_MS to end by themselves, and are ended after that. A
 * second signal ends everything at once. */
static void wait_for_end(struct serve *serve, const sigset_t *signals)
{
    int number;
    (void)sigwait(signals, &number);
    (void)fprintf(stderr, "gossamer serve: stopping; answers under way have %d s, a second signal ends them now\n",
                  DRAIN_MS / 1000);
    int64_t waited = 0;
    const struct timespec moment = {.tv_nsec = 0};
    for (bool done = false; !done && waited < DRAIN_MS; waited += 100) {
        done = net_server_drain(serve->net, 100);
        if (sigtimedwait(signals, NULL, &moment) > 0)
            _exit(EXIT_AT_ONCE);
    }
    service_stop(serve->service);
    (void)net_server_drain(serve->net, 2000); /* every stream gets its last event */
}

static void close_serve(struct opening *o)
{
    struct serve *serve = o->serve;
    if (serve->service)
        service_stop(serve->service);
    net_server_close(serve->net);
    service_close(serve->service);
    store_close(serve->store);
    recall_close(serve->recall);
    net_keys_close(serve->keys);
    session_close(&serve->session);
    (void)pthread_mutex_destroy(&serve->lock);
    free((char *)serve->model.name);
    free(o->store_folder);
    free(o->certificate);
    if (o->tls_key)
        explicit_bzero(o->tls_key, strlen((char *)o->tls_key));
    free(o->tls_key);
    free(o->lists[0]);
    free(o->lists[1]);
    if (o->net.socket >= 0)
        (void)close(o->net.socket);
}

goss_status command_serve(const struct arguments *arguments, goss_error *error)
{
    struct serve serve = {.started = time(NULL)};
    struct opening opening = {.serve = &serve, .arguments = arguments, .net.socket = -1};
    (void)pthread_mutex_init(&serve.lock, NULL);
    (void)sigemptyset(&opening.signals);
    (void)sigaddset(&opening.signals, SIGTERM);
    (void)sigaddset(&opening.signals, SIGINT);
    interrupts_catch();
    goss_status status = open_serve(&opening, error);
    if (!status) {
        greet(&opening);
        wait_for_end(&serve, &opening.signals);
    }
    close_serve(&opening);
    return status;
}
