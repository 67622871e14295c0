/* gossamer: inference of OpenAI's gpt-oss models on hardware the user owns.
 *
 * The only public header. Handles are opaque; functions return a goss_status and, when they fail, fill a
 * goss_error with one sentence that names the file, the field and the limit concerned. Nothing calls back:
 * the caller pulls events. No function prints, exits or touches the environment. examples/answer.c is a whole
 * program.
 *
 * The same model file, conversation, options and seed give the same tokens on every machine, whatever the number
 * of threads and whatever else is computed at the same time.
 *
 * Threads: a model with its turns belongs to one thread at a time, a conversation to the turn that is open on it;
 * different models may be used by different threads. Strings are UTF-8. What a function allocates for the caller
 * is freed by goss_free. NULL is fine for every _close function and for goss_free. */
#ifndef GOSSAMER_H
#define GOSSAMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GOSS_VERSION "0.1.0"

typedef enum goss_status {
    GOSS_OK = 0,
    GOSS_E_ARGUMENT,    /* the caller passed something out of range */
    GOSS_E_IO,          /* the operating system refused: missing file, full disk, permission */
    GOSS_E_FORMAT,      /* a file or text is not what its format says */
    GOSS_E_UNSUPPORTED, /* well formed, but not something this program handles */
    GOSS_E_LIMIT,       /* a stated limit would be passed (context, size, depth) */
    GOSS_E_MEMORY,      /* an allocation failed */
    GOSS_E_CANCELLED,   /* the caller asked to stop */
    GOSS_E_INTERNAL     /* a defect of gossamer: please report it */
} goss_status;

/* Filled on failure only; may be NULL wherever a function takes one. */
typedef struct goss_error {
    goss_status status;
    char text[512]; /* NUL-terminated UTF-8, no newline at the end */
} goss_error;

/* A short fixed name such as "format"; never NULL. */
const char *goss_status_name(goss_status status);

void goss_free(void *memory);

/* ---- a model ---- */

typedef struct goss_model goss_model;

typedef enum goss_backend {
    GOSS_BACKEND_AUTO = 0, /* an NVIDIA GPU if one can be used and the model fits without its experts, else the CPU */
    GOSS_BACKEND_CPU,
    GOSS_BACKEND_CUDA /* an error says why if it cannot be had */
} goss_backend;

/* Begin with goss_model_options_default() and change what matters. None of it changes a token of any answer. */
typedef struct goss_model_options {
    const char *cache; /* folder for packed files; NULL: `path` must be a packed file */
    int threads;       /* 0: one per core */
    const char *isa;   /* the best instruction set to use: "scalar", "avx2", "avx512", "amx", "neon", ..; NULL: any */
    int context;       /* most tokens of a prompt with its answer; 0: as many as fit in memory */
    int max_turns;     /* turns computed at the same time; more may be open and wait */
    int chunk;         /* prompt tokens per step */
    bool no_lookup;    /* never computes several tokens in one step where a text repeats what it says already */
    goss_backend backend; /* what computes */
    uint64_t cache_bytes; /* memory for keys and values, cached prompts included; 0: enough */
    uint64_t gpu_bytes; /* most of the GPU's memory to use; 0: what is free. The CPU computes the experts of the layers
                           that do not fit */
    bool copy_weights;  /* into memory of the process, instead of using the packed file where the system keeps it: takes
                           longer to open and is not shared, but may compute faster (docs/cpu.md) */
} goss_model_options;

goss_model_options goss_model_options_default(void);

/* Opens a Hugging Face folder, an original/ folder, a GGUF or a packed file. The first time a checkpoint is opened
 * it is packed into the cache, which takes a while; from then on the packed file is only mapped. */
goss_status goss_model_open(goss_model **model, const char *path, const goss_model_options *options, goss_error *error);
void goss_model_close(goss_model *model); /* after its turns */

int goss_model_context(const goss_model *model);     /* the limit that prompts with answers are held to */
const char *goss_model_isa(const goss_model *model); /* the instruction set in use */

/* Computes one batch for all open turns. False if no turn has anything to compute. Only for those who use
 * goss_turn_poll. */
bool goss_model_step(goss_model *model);

/* The ids of a text. Control tokens such as <|start|> are encoded as the text they look like, unless `control`. */
goss_status goss_tokenize(const goss_model *model, const char *text, size_t size, bool control, int32_t **ids,
                          size_t *n, goss_error *error);
/* The bytes of ids, with a NUL behind them that *size does not count. */
goss_status goss_detokenize(const goss_model *model, const int32_t *ids, size_t n, char **text, size_t *size,
                            goss_error *error);

/* ---- a conversation ---- */

typedef struct goss_conversation goss_conversation;

typedef enum goss_effort {
    GOSS_EFFORT_UNSET = 0, /* in a system message: no line about it; in a turn: as the system message says */
    GOSS_EFFORT_NONE,      /* answers without reasoning, which the models were not trained for; not with tools */
    GOSS_EFFORT_LOW,
    GOSS_EFFORT_MEDIUM,
    GOSS_EFFORT_HIGH
} goss_effort;

goss_status goss_conversation_open(goss_conversation **conversation, goss_error *error);
void goss_conversation_close(goss_conversation *conversation);

/* The system message that gpt-oss was trained on. It should come first. date is YYYY-MM-DD or NULL: the clock is
 * never read. */
goss_status goss_conversation_add_system(goss_conversation *conversation, goss_effort effort, const char *date,
                                         goss_error *error);
/* What applications usually call the system prompt. */
goss_status goss_conversation_add_instructions(goss_conversation *conversation, const char *text, size_t size,
                                               goss_error *error);
goss_status goss_conversation_add_user(goss_conversation *conversation, const char *text, size_t size,
                                       goss_error *error);
/* The answer to a call; `name` is the call's recipient, such as functions.get_weather. */
goss_status goss_conversation_add_tool(goss_conversation *conversation, const char *name, const char *text, size_t size,
                                       goss_error *error);
/* Any messages, tool declarations included: a JSON array in the message form of docs/harmony.md. */
goss_status goss_conversation_add_json(goss_conversation *conversation, const char *json, size_t size,
                                       goss_error *error);
/* The whole conversation as such an array. */
goss_status goss_conversation_json(const goss_conversation *conversation, char **json, size_t *size, goss_error *error);

/* ---- a turn: the model answers ---- */

typedef struct goss_turn goss_turn;

/* Begin with goss_turn_options_default(): temperature 1 and everything else off, as the models were trained.
 * docs/sampling.md defines each parameter. */
typedef struct goss_turn_options {
    double temperature, top_p, min_p;
    int top_k;
    double repetition_penalty, presence_penalty, frequency_penalty;
    uint64_t seed;           /* another seed, another answer */
    int max_tokens;          /* 0: as many as the context leaves */
    goss_effort effort;      /* replaces the system message's for this turn */
    const char *const *stop; /* [n_stop] at most 16 strings that end the answer before them */
    int n_stop;
} goss_turn_options;

goss_turn_options goss_turn_options_default(void);

typedef enum goss_event_kind {
    GOSS_EVENT_WAIT = 0, /* goss_turn_poll only: call goss_model_step first */
    GOSS_EVENT_BEGIN,    /* a message begins */
    GOSS_EVENT_TEXT,     /* more of its text, in whole characters */
    GOSS_EVENT_END,      /* the message is complete, or broken off; text is all of it */
    GOSS_EVENT_REPAIR,   /* the model broke its format; text is the name of the repair (docs/harmony.md) */
    GOSS_EVENT_DONE      /* the last event */
} goss_event_kind;

typedef enum goss_part {
    GOSS_PART_REASONING = 0, /* not meant for the user */
    GOSS_PART_PREAMBLE,      /* told to the user before a call */
    GOSS_PART_FINAL,         /* the answer */
    GOSS_PART_CALL           /* a call: recipient is the tool, text its arguments, which may be any text */
} goss_part;

typedef enum goss_finish {
    GOSS_FINISH_STOP = 0,
    GOSS_FINISH_CALL,        /* calls wait for their answers: goss_conversation_add_tool, then another turn */
    GOSS_FINISH_LENGTH,      /* max_tokens or the end of the context */
    GOSS_FINISH_STOP_STRING, /* one of options.stop */
    GOSS_FINISH_CANCELLED,
    GOSS_FINISH_FAILED /* error says why */
} goss_finish;

/* Pointers stay valid until the next call on the turn. */
typedef struct goss_event {
    goss_event_kind kind;
    goss_part part;        /* BEGIN, TEXT, END */
    const char *recipient; /* BEGIN, TEXT, END of a call; else NULL */
    const char *text;      /* TEXT, END, REPAIR: NUL-terminated, but may hold NUL; else NULL */
    size_t size;           /* of text */
    bool truncated;        /* END: broken off; such a call must not be executed */
    goss_finish finish;    /* DONE, and all that follow */
    int prompt_tokens, cached_tokens, answer_tokens; /* cached: of the prompt, not computed again */
    const goss_error *error;                         /* FAILED; else NULL */
} goss_event;

/* Renders the conversation and begins to answer. GOSS_E_LIMIT, with the counts, if it does not fit the context. The
 * messages of the answer are appended to the conversation as they end. options may be NULL. */
goss_status goss_turn_open(goss_turn **turn, goss_model *model, goss_conversation *conversation,
                           const goss_turn_options *options, goss_error *error);
void goss_turn_close(goss_turn *turn);

/* The next event, computing as long as it takes; DONE again after DONE. */
void goss_turn_next(goss_turn *turn, goss_event *event);
/* The same without computing: for several turns at once. */
void goss_turn_poll(goss_turn *turn, goss_event *event);
/* Ends the turn: what remains is the end of the message under way, and DONE. */
void goss_turn_cancel(goss_turn *turn);

#ifdef __cplusplus
}
#endif
#endif
