/* Demux, decode, pick, scale: see clip.h. */
#include "worker/decode/clip.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_SIZE 65536
#define LINEAR_SECONDS 2.0 /* spacing of wanted frames under which reading on is cheaper than seeking */
#define WHOLE_SHARE 0.9    /* of the stated length that the pictures must reach */
#define DAMAGED_SHARE 0.1  /* of the decoded pictures that may be damaged */
#define PROBE_SCORE_MIN (AVPROBE_SCORE_RETRY)

struct clip {
    const struct wk_decode_request *request;
    struct wk_decode_reply *reply;
    uint8_t *pixels;
    int fd;
    AVIOContext *io;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVPacket *packet;
    AVFrame *next, *current; /* the picture that came last, and the one before it: the candidate for the next
                                target */
    bool has_current, ended, sought;
    struct SwsContext *scaler;
    int64_t start;            /* time of the first picture; all times are in the stream's time base */
    int64_t length;           /* of the track */
    bool length_stated;       /* by the container, so that pictures must reach it */
    int64_t reached;          /* end of the latest picture so far */
    int64_t decoded, damaged; /* pictures */
    int64_t taken_time;       /* of the frame taken last: a picture is taken once */
};

static char last_message[128]; /* what libav complained about last, for the reason */

static void keep_message(void *object, int level, const char *format, va_list args)
{
    (void)object;
    if (level > AV_LOG_ERROR)
        return;
    char text[sizeof(last_message)];
    (void)vsnprintf(text, sizeof(text), format, args);
    size_t used = 0;
    for (const char *at = text; *at != '\0' && used + 1 < sizeof(last_message); at++) {
        if (*at >= ' ' && *at < 0x7f)
            last_message[used++] = *at;
    }
    last_message[used] = '\0';
}

/* Always false, so that a caller can return it. */
__attribute__((format(printf, 2, 3))) static bool reject(struct clip *clip, const char *format, ...)
{
    clip->reply->status = WK_DECODE_REJECTED;
    clip->reply->frames = 0;
    va_list args;
    va_start(args, format);
    int used = vsnprintf(clip->reply->reason, sizeof(clip->reply->reason), format, args);
    va_end(args);
    size_t place = used < 0 ? 0 : (size_t)used;
    if (last_message[0] != '\0' && place + 8 < sizeof(clip->reply->reason))
        (void)snprintf(
                clip->reply->reason + place, sizeof(clip->reply->reason) - place, " (%s)", last_message);
    return false;
}

static const char *error_text(int code)
{
    static char text[AV_ERROR_MAX_STRING_SIZE];
    if (code == AVERROR(ENOMEM))
        return "needs more memory than the limit";
    return av_make_error_string(text, sizeof(text), code);
}

static int read_bytes(void *opaque, uint8_t *buffer, int size)
{
    const struct clip *clip = opaque;
    for (;;) {
        ssize_t got = read(clip->fd, buffer, (size_t)size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            return AVERROR_EOF;
        return got < 0 ? AVERROR(errno) : (int)got;
    }
}

static int64_t seek_bytes(void *opaque, int64_t offset, int whence)
{
    const struct clip *clip = opaque;
    if ((whence & ~AVSEEK_FORCE) == AVSEEK_SIZE) {
        struct stat info;
        return fstat(clip->fd, &info) == 0 ? info.st_size : AVERROR(errno);
    }
    off_t place = lseek(clip->fd, offset, whence & ~AVSEEK_FORCE);
    return place < 0 ? AVERROR(errno) : place;
}

/* A playlist or a reference inside a file opens nothing. */
static int open_nothing(
        AVFormatContext *format, AVIOContext **io, const char *url, int flags, AVDictionary **options)
{
    (void)format;
    (void)io;
    (void)url;
    (void)flags;
    (void)options;
    return AVERROR(EPERM);
}

/* What the file's beginning looks like. Formats that are lists of other files hold no pictures of their own. */
static bool choose_container(struct clip *clip, const AVInputFormat **ret_input)
{
    static const char *const lists[] = {"hls", "dash", "concat", "imf", "sdp", "rtsp"};
    int score = av_probe_input_buffer2(clip->io, ret_input, "", NULL, 0, 0);
    if (score < 0 || *ret_input == NULL)
        return reject(clip, "not a video that can be read: %s",
                error_text(score < 0 ? score : AVERROR_INVALIDDATA));
    if (score < PROBE_SCORE_MIN)
        return reject(clip, "not a video that can be read: no known container");
    (void)snprintf(clip->reply->container, sizeof(clip->reply->container), "%s", (*ret_input)->name);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (av_match_name(lists[i], (*ret_input)->name) > 0)
            return reject(clip, "not a video but a list of other files (%s)", (*ret_input)->name);
    }
    return true;
}

static bool open_container(struct clip *clip)
{
    uint8_t *buffer = av_malloc(IO_SIZE);
    clip->io = buffer == NULL ? NULL
                              : avio_alloc_context(buffer, IO_SIZE, 0, clip, read_bytes, NULL, seek_bytes);
    if (clip->io == NULL)
        av_free(buffer);
    clip->format = avformat_alloc_context();
    if (clip->io == NULL || clip->format == NULL)
        return reject(clip, "needs more memory than the limit");
    const AVInputFormat *input = NULL;
    if (!choose_container(clip, &input))
        return false;
    clip->format->pb = clip->io;
    clip->format->io_open = open_nothing;
    clip->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    AVDictionary *options = NULL;
    (void)av_dict_set(&options, "protocol_whitelist", "none", 0);
    int rc = avformat_open_input(&clip->format, NULL, input, &options); /* frees format when it fails */
    av_dict_free(&options);
    if (rc < 0)
        return reject(clip, "not a video that can be read: %s", error_text(rc));
    return true;
}

/* Also the decoders that libavformat uses to look at the streams obey the picture limit. */
static bool look_at_streams(struct clip *clip)
{
    unsigned count = clip->format->nb_streams;
    AVDictionary **options = av_calloc(count + 1, sizeof(*options));
    if (options == NULL)
        return reject(clip, "needs more memory than the limit");
    char limit[32];
    (void)snprintf(
            limit, sizeof(limit), "%llu", (unsigned long long)clip->request->max_megapixels * 1000000ULL);
    for (unsigned i = 0; i < count; i++)
        (void)av_dict_set(&options[i], "max_pixels", limit, 0);
    int rc = avformat_find_stream_info(clip->format, count > 0 ? options : NULL);
    for (unsigned i = 0; i < count; i++)
        av_dict_free(&options[i]);
    av_free(options);
    return rc >= 0 || reject(clip, "its streams cannot be read: %s", error_text(rc));
}

/* Text as coloured letters is a "video codec" for libavcodec; for us a text file is not a video. */
static bool is_text_art(enum AVCodecID id)
{
    return id == AV_CODEC_ID_ANSI || id == AV_CODEC_ID_BINTEXT || id == AV_CODEC_ID_XBIN ||
           id == AV_CODEC_ID_IDF;
}

static bool choose_stream(struct clip *clip)
{
    bool cover = false;
    int best = -1;
    for (unsigned i = 0; i < clip->format->nb_streams; i++) {
        const AVStream *stream = clip->format->streams[i];
        bool picture = (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
        cover = cover || picture;
        if (stream->codecpar->codec_type != AVMEDIA_TYPE_VIDEO || picture ||
                is_text_art(stream->codecpar->codec_id))
            continue;
        if (best < 0 || (stream->disposition & AV_DISPOSITION_DEFAULT) >
                                (clip->format->streams[best]->disposition & AV_DISPOSITION_DEFAULT))
            best = (int)i;
    }
    if (best < 0)
        return reject(clip, cover ? "no video track, only a cover picture" : "no video track");
    clip->stream = clip->format->streams[best];
    for (unsigned i = 0; i < clip->format->nb_streams; i++)
        clip->format->streams[i]->discard = (int)i == best ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    return true;
}

static bool open_codec(struct clip *clip)
{
    const AVCodecParameters *parameters = clip->stream->codecpar;
    (void)snprintf(
            clip->reply->codec, sizeof(clip->reply->codec), "%s", avcodec_get_name(parameters->codec_id));
    const AVCodec *decoder = avcodec_find_decoder(parameters->codec_id);
    if (decoder == NULL)
        return reject(clip, "no decoder for its codec %s", clip->reply->codec);
    clip->codec = avcodec_alloc_context3(decoder);
    if (clip->codec == NULL || avcodec_parameters_to_context(clip->codec, parameters) < 0)
        return reject(clip, "needs more memory than the limit");
    clip->codec->thread_count = 1; /* the same pictures every time, and no threads to limit */
    clip->codec->max_pixels = (int64_t)clip->request->max_megapixels * 1000000;
    clip->codec->pkt_timebase = clip->stream->time_base;
    int rc = avcodec_open2(clip->codec, decoder, NULL);
    if (rc < 0)
        return reject(clip, "its codec %s cannot be opened: %s", clip->reply->codec, error_text(rc));
    return true;
}

static void close_input(struct clip *clip)
{
    avcodec_free_context(&clip->codec);
    avformat_close_input(&clip->format);
    if (clip->io != NULL)
        av_freep(&clip->io->buffer);
    avio_context_free(&clip->io);
    clip->stream = NULL;
}

static bool open_input(struct clip *clip)
{
    if (lseek(clip->fd, 0, SEEK_SET) != 0)
        return reject(clip, "cannot be read from its start");
    return open_container(clip) && look_at_streams(clip) && choose_stream(clip) && open_codec(clip);
}

/* The end of the track by its packets, for containers that state no length. Leaves the input at its end. */
static int64_t scan_length(struct clip *clip)
{
    int64_t first = INT64_MAX, last = INT64_MIN, count = 0;
    while (av_read_frame(clip->format, clip->packet) >= 0) {
        const AVPacket *packet = clip->packet;
        int64_t time = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
        if (packet->stream_index == clip->stream->index) {
            count++;
            if (time != AV_NOPTS_VALUE) {
                first = time < first ? time : first;
                last = time + packet->duration > last ? time + packet->duration : last;
            }
        }
        av_packet_unref(clip->packet);
    }
    if (last > first)
        return last - first;
    return count; /* no times at all: pictures are counted, see picture_time */
}

/* AVI states a number of pictures, one per tick; libavformat shortens the length of a cut-off file but leaves this number alone. */
static int64_t stated_pictures(const AVStream *stream)
{
    bool per_tick = stream->avg_frame_rate.num > 0 &&
                    av_cmp_q(av_inv_q(stream->avg_frame_rate), stream->time_base) == 0;
    return per_tick ? stream->nb_frames : 0;
}

static bool find_length(struct clip *clip)
{
    const AVFormatContext *format = clip->format;
    bool estimated = format->duration_estimation_method == AVFMT_DURATION_FROM_BITRATE;
    int64_t pictures = stated_pictures(clip->stream);
    clip->length = 0;
    clip->length_stated = true;
    if (!estimated && clip->stream->duration > 0)
        clip->length = pictures > clip->stream->duration ? pictures : clip->stream->duration;
    else if (!estimated && format->duration > 0 && format->nb_streams == 1)
        clip->length = av_rescale_q(format->duration, AV_TIME_BASE_Q, clip->stream->time_base);
    if (clip->length > 0)
        return true;
    clip->length = scan_length(clip);
    clip->length_stated = false;
    close_input(clip);
    return open_input(clip);
}

/* A stream without times is taken as one picture per tick. */
static int64_t picture_time(const struct clip *clip, const AVFrame *frame)
{
    return frame->best_effort_timestamp != AV_NOPTS_VALUE ? frame->best_effort_timestamp : clip->decoded - 1;
}

static int64_t picture_duration(const AVFrame *frame)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 2, 100)
    return frame->duration;
#else
    return frame->pkt_duration;
#endif
}

static bool is_damaged(const AVFrame *frame)
{
    return (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0 || frame->decode_error_flags != 0;
}

/* Gives the decoder one more packet, or tells it that there are none. Data that it cannot use are passed
 * over: what is missing shows in the pictures. */
static bool feed(struct clip *clip)
{
    for (;;) {
        int rc = av_read_frame(clip->format, clip->packet);
        if (rc < 0) {
            clip->ended = true;
            return avcodec_send_packet(clip->codec, NULL) >= 0;
        }
        if (clip->packet->stream_index != clip->stream->index) {
            av_packet_unref(clip->packet);
            continue;
        }
        rc = avcodec_send_packet(clip->codec, clip->packet);
        av_packet_unref(clip->packet);
        if (rc == AVERROR(ENOMEM))
            return reject(clip, "needs more memory than the limit");
        if (rc >= 0 || rc == AVERROR(EAGAIN))
            return true;
    }
}

/* The next good picture into clip->next, in order of time. False at the end (or when rejected: see
 * reply->status). */
static bool next_picture(struct clip *clip)
{
    for (;;) {
        int rc = avcodec_receive_frame(clip->codec, clip->next);
        if (rc == AVERROR(EAGAIN)) {
            if (clip->ended || !feed(clip))
                return false;
            continue;
        }
        if (rc == AVERROR_INVALIDDATA && !clip->ended)
            continue;
        if (rc < 0)
            return false;
        clip->decoded++;
        bool settled =
                clip->has_current; /* before that, right after seeking, a picture may lack those that it is made from */
        int64_t end = picture_time(clip, clip->next) + picture_duration(clip->next);
        clip->reached = end > clip->reached ? end : clip->reached;
        if (!is_damaged(clip->next))
            return true;
        clip->damaged += settled || !clip->sought;
    }
}

/* The deprecated full-range formats, said as swscale wants it. */
static enum AVPixelFormat plain_format(enum AVPixelFormat format, bool *full)
{
    switch (format) {
    case AV_PIX_FMT_YUVJ420P:
        *full = true;
        return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P:
        *full = true;
        return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P:
        *full = true;
        return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P:
        *full = true;
        return AV_PIX_FMT_YUV440P;
    default:
        return format;
    }
}

static bool scale(struct clip *clip, const AVFrame *frame, uint8_t *to)
{
    int side = (int)clip->request->image;
    bool full = frame->color_range == AVCOL_RANGE_JPEG;
    enum AVPixelFormat format = plain_format((enum AVPixelFormat)frame->format, &full);
    clip->scaler = sws_getCachedContext(clip->scaler, frame->width, frame->height, format, side, side,
            AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT, NULL, NULL,
            NULL);
    if (clip->scaler == NULL)
        return reject(clip, "pictures of format %s and size %dx%d cannot be scaled",
                av_get_pix_fmt_name(format) != NULL ? av_get_pix_fmt_name(format) : "unknown", frame->width,
                frame->height);
    int space = frame->colorspace == AVCOL_SPC_UNSPECIFIED ? SWS_CS_DEFAULT : (int)frame->colorspace;
    (void)sws_setColorspaceDetails(clip->scaler, sws_getCoefficients(space), full,
            sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
    uint8_t *planes[4] = {to, NULL, NULL, NULL};
    int strides[4] = {side * 3, 0, 0, 0};
    int rows = sws_scale(clip->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height,
            planes, strides);
    return rows == side || reject(clip, "a picture cannot be scaled");
}

/* Turns a square picture by a multiple of 90 degrees clockwise, in place, four pixels at a time. */
static void turn(uint8_t *pixels, int side, uint32_t degrees)
{
    for (uint32_t done = 0; done < degrees; done += 90) {
        for (int y = 0; y < side / 2; y++) {
            for (int x = 0; x < (side + 1) / 2; x++) {
                int at[4][2] = {{y, x}, {x, side - 1 - y}, {side - 1 - y, side - 1 - x}, {side - 1 - x, y}};
                uint8_t kept[3];
                memcpy(kept, pixels + (at[3][0] * side + at[3][1]) * 3, 3);
                for (int i = 3; i > 0; i--)
                    memcpy(pixels + (at[i][0] * side + at[i][1]) * 3,
                            pixels + (at[i - 1][0] * side + at[i - 1][1]) * 3, 3);
                memcpy(pixels + (at[0][0] * side + at[0][1]) * 3, kept, 3);
            }
        }
    }
}

static uint32_t find_rotation(const AVStream *stream)
{
    const uint8_t *matrix = NULL;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
    const AVPacketSideData *data = av_packet_side_data_get(stream->codecpar->coded_side_data,
            stream->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    matrix = data != NULL && data->size >= 9 * sizeof(int32_t) ? data->data : NULL;
#else
    size_t size = 0;
    matrix = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
    matrix = size >= 9 * sizeof(int32_t) ? matrix : NULL;
#endif
    if (matrix == NULL)
        return 0;
    double angle = av_display_rotation_get((const int32_t *)(const void *)matrix);
    if (!isfinite(angle))
        return 0;
    long quarter = lround(-angle / 90.0);
    return (uint32_t)(((quarter % 4) + 4) % 4) * 90;
}

/* Takes the picture unless it was taken already. */
static bool take(struct clip *clip, const AVFrame *frame)
{
    struct wk_decode_reply *reply = clip->reply;
    int64_t time = picture_time(clip, frame);
    if (reply->frames > 0 && time <= clip->taken_time)
        return true;
    size_t size = (size_t)clip->request->image * clip->request->image * 3;
    uint8_t *to = clip->pixels + reply->frames * size;
    if (!scale(clip, frame, to))
        return false;
    turn(to, (int)clip->request->image, reply->rotation);
    clip->taken_time = time;
    reply->time_us[reply->frames++] =
            av_rescale_q(time - clip->start, clip->stream->time_base, AV_TIME_BASE_Q);
    return true;
}

static int64_t target_time(const struct clip *clip, uint32_t k)
{
    return clip->start + (int64_t)(((double)k + 0.5) / (double)clip->request->frames * (double)clip->length);
}

/* Makes sure that there is a candidate. False at the end, or when rejected. */
static bool load_current(struct clip *clip)
{
    if (clip->has_current)
        return true;
    if (!next_picture(clip))
        return false;
    av_frame_unref(clip->current);
    av_frame_move_ref(clip->current, clip->next);
    clip->has_current = true;
    return true;
}

/* Takes the picture that is shown at the target: the last one that begins at or before it. Reads on from where the input stands.
 * A clip that ends before the target gives its last picture. */
static bool take_at(struct clip *clip, int64_t target)
{
    if (!load_current(clip))
        return clip->reply->status == WK_DECODE_OK;
    for (;;) {
        if (clip->next->buf[0] == NULL && !next_picture(clip))
            return clip->reply->status == WK_DECODE_OK && take(clip, clip->current);
        if (picture_time(clip, clip->next) > target)
            return take(clip, clip->current);
        av_frame_unref(clip->current);
        av_frame_move_ref(clip->current, clip->next);
    }
}

static void forget_pictures(struct clip *clip)
{
    av_frame_unref(clip->next);
    av_frame_unref(clip->current);
    clip->has_current = false;
    clip->ended = false;
}

static void seek_near(struct clip *clip, int64_t target)
{
    if (av_seek_frame(clip->format, clip->stream->index, target, AVSEEK_FLAG_BACKWARD) < 0)
        return; /* reading on from here gives the same picture, later, unless it lies behind: see seek_before */
    avcodec_flush_buffers(clip->codec);
    forget_pictures(clip);
    clip->sought = true;
}

/* Stands at a picture at or before the target. Containers without an index (MPEG program streams) seek past key frames: then further back,
 * in the end from the start. */
static bool seek_before(struct clip *clip, int64_t target)
{
    int64_t second = av_rescale_q(AV_TIME_BASE, AV_TIME_BASE_Q, clip->stream->time_base);
    for (int64_t back = 0; target - back > clip->start; back = back == 0 ? second : back * 4) {
        seek_near(clip, target - back);
        bool found = load_current(clip);
        if (clip->reply->status != WK_DECODE_OK)
            return false;
        if (found && picture_time(clip, clip->current) <= target)
            return true;
    }
    forget_pictures(clip);
    close_input(clip);
    return open_input(clip);
}

static bool take_all(struct clip *clip)
{
    double length_s = (double)clip->length * av_q2d(clip->stream->time_base);
    bool seeking = length_s / (double)clip->request->frames > LINEAR_SECONDS && clip->length_stated;
    for (uint32_t k = 0; k < clip->request->frames; k++) {
        int64_t target = target_time(clip, k);
        if (seeking && !seek_before(clip, target))
            return false;
        if (!take_at(clip, target))
            return false;
    }
    return true;
}

/* Pictures after the last target have not been read yet. Near the end they are read on to, else sought. */
static void reach(struct clip *clip, int64_t goal)
{
    double left_s = (double)(goal - clip->reached) * av_q2d(clip->stream->time_base);
    if (left_s > LINEAR_SECONDS)
        seek_near(clip, goal);
    while (clip->reached < goal && !clip->ended) {
        av_frame_unref(clip->next);
        if (!next_picture(clip))
            break;
    }
}

static bool check_whole(struct clip *clip)
{
    int64_t goal = clip->start + (int64_t)(WHOLE_SHARE * (double)clip->length);
    if (clip->length_stated && clip->reply->frames > 0) {
        reach(clip, goal);
        double unit = av_q2d(clip->stream->time_base);
        if (clip->reached < goal)
            return reject(clip, "cut off: it states %.1f s, its pictures end at %.1f s",
                    (double)clip->length * unit, (double)(clip->reached - clip->start) * unit);
    }
    if ((double)clip->damaged > DAMAGED_SHARE * (double)clip->decoded)
        return reject(clip, "damaged: %lld of %lld pictures do not decode whole", (long long)clip->damaged,
                (long long)clip->decoded);
    return clip->reply->frames > 0 || reject(clip, "no picture of it decodes");
}

static void describe(struct clip *clip)
{
    struct wk_decode_reply *reply = clip->reply;
    const AVStream *stream = clip->stream;
    reply->width = (uint32_t)(stream->codecpar->width > 0 ? stream->codecpar->width : 0);
    reply->height = (uint32_t)(stream->codecpar->height > 0 ? stream->codecpar->height : 0);
    reply->duration_us = av_rescale_q(clip->length, stream->time_base, AV_TIME_BASE_Q);
    reply->fps = stream->avg_frame_rate.den > 0 ? av_q2d(stream->avg_frame_rate) : 0.0;
    reply->rotation = find_rotation(stream);
}

static void decode(struct clip *clip)
{
    if (!open_input(clip) || !find_length(clip))
        return;
    describe(clip);
    if (clip->request->max_seconds > 0 &&
            clip->reply->duration_us > (int64_t)clip->request->max_seconds * 1000000) {
        (void)reject(clip, "is %.1f s long; at most %u s are taken", (double)clip->reply->duration_us * 1e-6,
                clip->request->max_seconds);
        return;
    }
    clip->start = clip->stream->start_time != AV_NOPTS_VALUE ? clip->stream->start_time : 0;
    clip->reached = clip->start;
    if (take_all(clip))
        (void)check_whole(clip);
}

void wk_clip_decode(
        struct wk_decode_reply *reply, uint8_t *pixels, const struct wk_decode_request *request, int fd)
{
    av_log_set_callback(keep_message);
    struct clip clip = {.request = request, .reply = reply, .pixels = pixels, .fd = fd};
    reply->status = WK_DECODE_OK;
    clip.packet = av_packet_alloc();
    clip.next = av_frame_alloc();
    clip.current = av_frame_alloc();
    if (clip.packet == NULL || clip.next == NULL || clip.current == NULL)
        (void)reject(&clip, "needs more memory than the limit");
    else
        decode(&clip);
    sws_freeContext(clip.scaler);
    close_input(&clip);
    av_packet_free(&clip.packet);
    av_frame_free(&clip.next);
    av_frame_free(&clip.current);
}
