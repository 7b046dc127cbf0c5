/* A compiled single-threaded OpenAI-shaped upstream, fast enough that the gateway in front of it is what gets measured.
 *
 * usage: mock_upstream [--port N] [--chunks N]      (port 0 = any free one; prints "PORT n" when it listens on 127.0.0.1)
 *
 * POST /v1/chat/completions, /v1/completions   one JSON answer, or with "stream":true an SSE answer of `chunks` frames, each its
 *                                              own write and HTTP chunk, then (when include_usage was asked) a usage frame and
 *                                              [DONE]. Frames go back to back unless the prompt contains `pace_us=N`: the marker
 *                                              sits in the prompt because that is what every gateway and translation leaves alone.
 *                                              Completions that ask for return_token_ids have ids and log probabilities told.
 * GET /stats                                   counters, so that a paced run can be cut at any moment and still be counted.
 * Other GETs answer what routers ask of a worker before they accept it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 4096, MAX_REQUEST = 4 << 20, MAX_CHUNKS = 4096, MAX_OUT = 64 << 10, EVENTS = 256 };

struct bytes { char *at; size_t len; };

/* The wire images of one protocol's answer, built once at the start. */
struct script { struct bytes json, head, tail, tail_with_usage, frame[MAX_CHUNKS]; };

struct connection {
    int fd;
    char *in; size_t in_len, in_cap;
    char out[MAX_OUT]; size_t out_len, out_at;  /* what the kernel did not take yet */
    const struct script *script;                /* set while a stream is being sent */
    int next_frame;
    bool with_usage, close_after, continued, dead;
    uint64_t pace_ns, due_ns;
    int active_index;                           /* place in the list of streams, -1 when not streaming */
};

static struct { uint64_t requests, json, streams, chunks, aborted; } counted;
static struct script chat, text, detailed;
static int frames = 64;
static int poller, timer;
static struct connection *active[MAX_CONNECTIONS];
static int active_count, open_count;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

static struct bytes keep(const char *s) { return (struct bytes){strdup(s), strlen(s)}; }

static struct bytes answer(const char *status, const char *type, const char *body) {
    char *s;
    int n = asprintf(&s, "HTTP/1.1 %s\r\nserver: mock\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n%s", status, type, strlen(body), body);
    if (n < 0) die("asprintf");
    return (struct bytes){s, (size_t)n};
}

static struct bytes http_chunk(const char *payload) {
    char *s;
    int n = asprintf(&s, "%zx\r\n%s\r\n", strlen(payload), payload);
    if (n < 0) die("asprintf");
    return (struct bytes){s, (size_t)n};
}

static void write_script(struct script *s, bool is_chat, bool with_details) {
    static const char *words[] = {" the", " quick", " brown", " fox", " jumps", " over", " a", " lazy", " dog", ",", " then", " sleeps", ".", " It", " was", " late"};
    const char *id = is_chat ? "chatcmpl-8a3f1c52e0b94d7f" : "cmpl-8a3f1c52e0b94d7f";
    const char *object = is_chat ? "chat.completion.chunk" : "text_completion";
    const char *usage = "{\"prompt_tokens\":23,\"total_tokens\":87,\"completion_tokens\":64,\"prompt_tokens_details\":{\"cached_tokens\":0}}";
    char frame[1024], body[4096], prose[1024] = "";
    for (int i = 0; i < 63; i++) strcat(prose, words[i % 16]);

    if (is_chat)
        snprintf(body, sizeof body, "{\"id\":\"%s\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":%s,\"system_fingerprint\":\"fp_mock\"}", id, prose, usage);
    else
        snprintf(body, sizeof body, "{\"id\":\"%s\",\"object\":\"text_completion\",\"created\":1760000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":%s}", id, prose, usage);
    s->json = answer("200 OK", "application/json", body);
    s->head = keep("HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n");

    for (int i = 0; i < frames; i++) {
        bool last = i == frames - 1;
        const char *word = last ? "" : words[i % 16];
        char choice[256], details[256] = "\"logprobs\":null";
        if (is_chat)
            snprintf(choice, sizeof choice, "\"delta\":{%s%s%s%s}", i == 0 ? "\"role\":\"assistant\"," : "", last ? "" : "\"content\":\"", word, last ? "" : "\"");
        else
            snprintf(choice, sizeof choice, "\"text\":\"%s\"", word);
        if (with_details && !last)
            snprintf(details, sizeof details, "\"logprobs\":{\"text_offset\":[%d],\"token_logprobs\":[-0.41],\"tokens\":[\"%s\"],\"top_logprobs\":[{\"%s\":-0.41}]},\"token_ids\":[%d]", 4 * i, word, word, 260 + i % 16);
        snprintf(frame, sizeof frame, "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":1760000000,\"model\":\"m\",\"choices\":[{\"index\":0,%s,%s,\"finish_reason\":%s}]}\n\n", id, object, choice, details, last ? "\"stop\"" : "null");
        s->frame[i] = http_chunk(frame);
    }
    snprintf(frame, sizeof frame, "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":1760000000,\"model\":\"m\",\"choices\":[],\"usage\":%s}\n\n", id, object, usage);
    struct bytes end = http_chunk("data: [DONE]\n\n"), last = http_chunk(frame);
    char *joined;
    if (asprintf(&joined, "%s0\r\n\r\n", end.at) < 0) die("asprintf");
    s->tail = keep(joined);
    if (asprintf(&joined, "%s%s", last.at, s->tail.at) < 0) die("asprintf");
    s->tail_with_usage = keep(joined);
}

static void stream_ends(struct connection *c) {
    if (c->active_index >= 0) {
        active[c->active_index] = active[--active_count];
        active[c->active_index]->active_index = c->active_index;
        c->active_index = -1;
    }
    c->script = NULL;
}

/* The memory is freed after the batch of events, because a later event of the same batch may still name the connection. */
static struct connection *graves[MAX_CONNECTIONS];
static int grave_count;

static void bury(struct connection *c) {
    if (c->dead) return;
    c->dead = true;
    if (c->script) counted.aborted++;
    stream_ends(c);
    close(c->fd);
    open_count--;
    graves[grave_count++] = c;
}

static void watch(struct connection *c, bool writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

/* Sends or keeps; false when the connection is gone. Callers ask `out_len` before sending more, so MAX_OUT is never passed. */
static bool put(struct connection *c, const char *at, size_t len) {
    if (c->out_len == 0) {
        ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) { bury(c); return false; }
        if (n == (ssize_t)len) return true;
        if (n > 0) { at += n; len -= (size_t)n; }
    }
    if (c->out_len + len > MAX_OUT) { bury(c); return false; }
    bool first = c->out_len == 0;
    memcpy(c->out + c->out_len, at, len);
    c->out_len += len;
    if (first) watch(c, true);
    return true;
}

/* Sends the frames that are due; true when the stream is complete. A full socket buffer holds the stream until it drains. */
static bool advance(struct connection *c, uint64_t now) {
    const struct script *s = c->script;
    while (c->out_len == 0 && (c->pace_ns == 0 || c->due_ns <= now)) {
        bool last = c->next_frame == frames;
        struct bytes piece = !last ? s->frame[c->next_frame] : c->with_usage ? s->tail_with_usage : s->tail;
        if (!put(c, piece.at, piece.len)) return false;
        counted.chunks++;
        c->next_frame++;
        /* late frames follow at once but do not pile up: the next one is at least due from now */
        c->due_ns = c->due_ns + c->pace_ns > now ? c->due_ns + c->pace_ns : now + 1;
        if (last) {
            counted.streams++;
            stream_ends(c);
            return true;
        }
    }
    return false;
}

static bool asks(const char *body, size_t len, const char *key) {
    const char *end = body + len, *p = memmem(body, len, key, strlen(key));
    if (!p) return false;
    for (p += strlen(key); p < end && (*p == ' ' || *p == ':' || *p == '\t' || *p == '\n' || *p == '\r'); p++) {}
    return end - p >= 4 && memcmp(p, "true", 4) == 0;
}

static uint64_t pace_asked(const char *body, size_t len) {
    static const char marker[] = "pace_us=";
    const char *end = body + len, *p = memmem(body, len, marker, sizeof marker - 1);
    uint64_t us = 0;
    if (!p) return 0;
    for (p += sizeof marker - 1; p < end && *p >= '0' && *p <= '9' && us < 10000000; p++) us = us * 10 + (uint64_t)(*p - '0');
    return us * 1000;
}

static bool send_answer(struct connection *c, const char *status, const char *type, const char *body) {
    struct bytes b = answer(status, type, body);
    bool alive = put(c, b.at, b.len);
    free(b.at);
    return alive;
}

static bool is(const char *at, size_t len, const char *name) { return strlen(name) == len && memcmp(at, name, len) == 0; }

static bool get(struct connection *c, const char *path, size_t len) {
    static const char *models = "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":1760000000,\"owned_by\":\"mock\",\"root\":\"m\",\"parent\":null,\"max_model_len\":32768}]}";
    static const char *info = "{\"model_path\":\"m\",\"served_model_name\":\"m\",\"tokenizer_path\":\"m\",\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"is_generation\":true,\"preferred_sampling_params\":null,\"weight_version\":\"default\",\"has_image_understanding\":false,\"has_audio_understanding\":false}";
    static const char *server = "{\"model_path\":\"m\",\"model_id\":\"m\",\"served_model_name\":\"m\",\"tokenizer_path\":\"m\",\"tp_size\":1,\"dp_size\":1,\"load_balance_method\":\"round_robin\",\"disaggregation_mode\":\"null\",\"max_total_num_tokens\":1000000,\"max_running_requests\":4096,\"internal_states\":[{}],\"status\":\"ready\",\"version\":\"0.5.0\"}";
    if (is(path, len, "/stats")) {
        char body[256];
        snprintf(body, sizeof body, "{\"requests\":%lu,\"json\":%lu,\"streams\":%lu,\"chunks\":%lu,\"aborted\":%lu,\"open\":%d}", counted.requests, counted.json, counted.streams, counted.chunks, counted.aborted, open_count);
        return send_answer(c, "200 OK", "application/json", body);
    }
    if (is(path, len, "/health") || is(path, len, "/health_generate") || is(path, len, "/ping") || is(path, len, "/metrics"))
        return send_answer(c, "200 OK", "text/plain", "");
    if (is(path, len, "/v1/models") || is(path, len, "/models")) return send_answer(c, "200 OK", "application/json", models);
    if (is(path, len, "/get_model_info") || is(path, len, "/model_info")) return send_answer(c, "200 OK", "application/json", info);
    if (is(path, len, "/get_server_info") || is(path, len, "/server_info")) return send_answer(c, "200 OK", "application/json", server);
    if (is(path, len, "/version")) return send_answer(c, "200 OK", "application/json", "{\"version\":\"0.11.0\"}");
    if (is(path, len, "/get_load") || is(path, len, "/v1/loads")) return send_answer(c, "200 OK", "application/json", "[{\"dp_rank\":0,\"num_reqs\":0,\"num_waiting_reqs\":0,\"num_tokens\":0}]");
    return send_answer(c, "404 Not Found", "application/json", "{\"error\":{\"message\":\"no such route\",\"type\":\"not_found\",\"code\":404}}");
}

/* Answers one complete request; true when the next one in the buffer may be looked at. */
static bool respond(struct connection *c, const char *method, size_t method_len, const char *path, size_t path_len, const char *body, size_t len) {
    bool is_chat = is(path, path_len, "/v1/chat/completions");
    counted.requests++;
    if (is(method, method_len, "GET")) return get(c, path, path_len);
    if (!is(method, method_len, "POST") || !(is_chat || is(path, path_len, "/v1/completions")))
        return send_answer(c, "404 Not Found", "application/json", "{\"error\":{\"message\":\"no such route\",\"type\":\"not_found\",\"code\":404}}");
    const struct script *s = is_chat ? &chat : asks(body, len, "\"return_token_ids\"") ? &detailed : &text;
    if (!asks(body, len, "\"stream\"")) {
        counted.json++;
        return put(c, s->json.at, s->json.len);
    }
    c->script = s;
    c->next_frame = 0;
    c->with_usage = asks(body, len, "\"include_usage\"");
    c->pace_ns = pace_asked(body, len);
    c->due_ns = now_ns();
    c->active_index = active_count;
    active[active_count++] = c;
    if (!put(c, s->head.at, s->head.len)) return false;
    return advance(c, c->due_ns);
}

static const char *header(const char *head, const char *end, const char *name, size_t *len) {
    size_t n = strlen(name);
    for (const char *line = memchr(head, '\n', (size_t)(end - head)); line && ++line < end; line = memchr(line, '\n', (size_t)(end - line))) {
        if ((size_t)(end - line) <= n || line[n] != ':' || strncasecmp(line, name, n) != 0) continue;
        const char *value = line + n + 1, *stop = memchr(value, '\r', (size_t)(end - value));
        if (!stop) stop = end;
        while (value < stop && (*value == ' ' || *value == '\t')) value++;
        *len = (size_t)(stop - value);
        return value;
    }
    return NULL;
}

/* Looks at the buffer: answers every complete request, in order, one stream at a time. */
static void requests(struct connection *c) {
    while (!c->dead && !c->script && c->out_len == 0 && c->in_len > 0) {
        char *stop = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!stop) return;
        const char *end = stop + 2;
        size_t head_len = (size_t)(stop + 4 - c->in), length = 0, value_len = 0;
        const char *value = header(c->in, end, "content-length", &value_len);
        if (value) length = strtoul(value, NULL, 10);
        if (header(c->in, end, "transfer-encoding", &value_len) || length > MAX_REQUEST / 2) {
            /* the load never sends these; saying so beats guessing where the body ends */
            send_answer(c, "411 Length Required", "application/json", "{\"error\":{\"message\":\"content-length wanted\"}}");
            bury(c);
            return;
        }
        if (c->in_len < head_len + length) {
            value = header(c->in, end, "expect", &value_len);
            if (value && !c->continued && value_len == 12 && strncasecmp(value, "100-continue", 12) == 0) {
                c->continued = true;
                put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            }
            return;
        }
        const char *space = memchr(c->in, ' ', head_len), *second = space ? memchr(space + 1, ' ', (size_t)(stop - space - 1)) : NULL;
        if (!second) { bury(c); return; }
        const char *query = memchr(space + 1, '?', (size_t)(second - space - 1));
        value = header(c->in, end, "connection", &value_len);
        bool old = memcmp(second + 1, "HTTP/1.0", 8) == 0;
        c->close_after = value ? strncasecmp(value, "close", 5) == 0 || (old && strncasecmp(value, "keep-alive", 10) != 0) : old;
        c->continued = false;
        bool more = respond(c, c->in, (size_t)(space - c->in), space + 1, (size_t)((query ? query : second) - space - 1), c->in + head_len, length);
        if (c->dead) return;
        c->in_len -= head_len + length;
        if (c->in_len) memmove(c->in, c->in + head_len + length, c->in_len);
        if (more && c->close_after && c->out_len == 0) { bury(c); return; }
        if (!more) return;
    }
}

static void readable(struct connection *c) {
    for (;;) {
        if (c->in_cap - c->in_len < 4096) {
            if (c->in_cap >= MAX_REQUEST) { bury(c); return; }
            c->in_cap = c->in_cap ? c->in_cap * 2 : 16384;
            c->in = realloc(c->in, c->in_cap);
            if (!c->in) die("realloc");
        }
        size_t room = c->in_cap - c->in_len;
        ssize_t n = recv(c->fd, c->in + c->in_len, room, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) { bury(c); return; }
        if (n < 0) break;
        c->in_len += (size_t)n;
        if ((size_t)n < room) break;
    }
    requests(c);
}

static void writable(struct connection *c) {
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { bury(c); return; }
    if (n > 0) c->out_at += (size_t)n;
    if (c->out_at < c->out_len) return;
    c->out_at = c->out_len = 0;
    watch(c, false);
    if (c->script && !advance(c, now_ns())) return;
    if (c->close_after && c->out_len == 0) bury(c);
    else requests(c);
}

static void newcomers(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        if (open_count + grave_count >= MAX_CONNECTIONS) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        c->active_index = -1;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0) die("epoll_ctl");
        open_count++;
    }
}

/* Sends what is due on paced streams and sets the timer to the next moment. */
static void paced_streams(void) {
    uint64_t now = now_ns(), next = UINT64_MAX;
    for (int i = 0; i < active_count;) {
        struct connection *c = active[i];
        if (c->pace_ns && c->due_ns <= now && c->out_len == 0) {
            if (advance(c, now)) { if (c->close_after && c->out_len == 0) bury(c); else requests(c); }
            if (i < active_count && active[i] != c) continue; /* another stream took the place: look at it too */
        }
        if (i < active_count && active[i] == c && c->pace_ns && c->out_len == 0 && c->due_ns < next) next = c->due_ns;
        i++;
    }
    struct itimerspec when = {0};
    if (next != UINT64_MAX) when.it_value = (struct timespec){(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

int main(int argc, char **argv) {
    int port = 0, one = 1;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--port") == 0) port = atoi(argv[i + 1]);
        else if (i + 1 < argc && strcmp(argv[i], "--chunks") == 0) frames = atoi(argv[i + 1]);
        else { fprintf(stderr, "usage: %s [--port N] [--chunks N]\n", argv[0]); return 2; }
    }
    if (frames < 2 || frames > MAX_CHUNKS) { fprintf(stderr, "--chunks: 2 to %d\n", MAX_CHUNKS); return 2; }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a benchmark that was killed leaves no upstream behind */
    struct rlimit files = {MAX_CONNECTIONS + 64, MAX_CONNECTIONS + 64};
    setrlimit(RLIMIT_NOFILE, &files);
    write_script(&chat, true, false);
    write_script(&text, false, false);
    write_script(&detailed, false, true);

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event on_listener = {.events = EPOLLIN, .data.ptr = &listener}, on_timer = {.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &on_listener);
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &on_timer);
    printf("PORT %d\n", ntohs(address.sin_port));
    fflush(stdout);

    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &listener) { newcomers(listener); continue; }
            if (events[i].data.ptr == &timer) {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timerfd");
                continue;
            }
            struct connection *c = events[i].data.ptr;
            if (!c->dead && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
            if (!c->dead && events[i].events & EPOLLOUT) writable(c);
        }
        if (active_count) paced_streams();
        for (int i = 0; i < grave_count; i++) { free(graves[i]->in); free(graves[i]); }
        grave_count = 0;
    }
}
