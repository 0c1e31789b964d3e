/* H.264 in mp4: see encode.h. */
#include "deploy/sample/encode.h"

#include "common/memory.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <string.h>

#define QUALITY "29" /* constant rate factor: about 100 KB for four seconds */
#define FRAMES_BETWEEN_KEYS 20

struct dp_encoder {
    AVCodecContext *codec;
    AVFormatContext *format;
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
    uint8_t *bytes; /* from libavformat, after finish */
    int64_t frames;
};

static enum sl_status fail_av(struct sl_error *err, int code, const char *what)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(code, text, sizeof text);
    return sl_fail(err, code == AVERROR(ENOMEM) ? SL_NO_MEMORY : SL_FAILED, "%s: %s", what, text);
}

static enum sl_status open_codec(
        struct dp_encoder *encoder, int width, int height, int rate, struct sl_error *err)
{
    const AVCodec *codec = avcodec_find_encoder_by_name("libx264");
    if (codec == NULL)
        return sl_fail(err, SL_FAILED,
                "this libavcodec has no libx264 encoder; install a build that has it (Debian's libavcodec59 "
                "does)");
    AVCodecContext *context = encoder->codec = avcodec_alloc_context3(codec);
    if (context == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an encoder");
    context->width = width;
    context->height = height;
    context->time_base = (AVRational){1, rate};
    context->framerate = (AVRational){rate, 1};
    context->pix_fmt = AV_PIX_FMT_YUV420P;
    context->gop_size = FRAMES_BETWEEN_KEYS;
    context->thread_count = 1;
    context->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    context->color_range = AVCOL_RANGE_MPEG;
    context->colorspace = AVCOL_SPC_SMPTE170M;
    SL_AUTO(av_dict_free) AVDictionary *options = NULL;
    av_dict_set(&options, "preset", "ultrafast", 0);
    av_dict_set(&options, "crf", QUALITY, 0);
    av_dict_set(&options, "x264-params", "threads=1:lookahead-threads=1:sliced-threads=0", 0);
    int code = avcodec_open2(context, codec, &options);
    return code < 0 ? fail_av(err, code, "cannot start the H.264 encoder") : SL_OK;
}

static enum sl_status open_format(struct dp_encoder *encoder, const char *comment, struct sl_error *err)
{
    int code = avformat_alloc_output_context2(&encoder->format, NULL, "mp4", NULL);
    if (code < 0)
        return fail_av(err, code, "cannot make an mp4 file");
    encoder->format->flags |= AVFMT_FLAG_BITEXACT;
    encoder->stream = avformat_new_stream(encoder->format, NULL);
    if (encoder->stream == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a video stream");
    encoder->stream->time_base = encoder->codec->time_base;
    encoder->stream->avg_frame_rate = encoder->codec->framerate;
    code = avcodec_parameters_from_context(encoder->stream->codecpar, encoder->codec);
    if (code >= 0)
        code = av_dict_set(&encoder->format->metadata, "comment", comment, 0);
    if (code >= 0)
        code = avio_open_dyn_buf(&encoder->format->pb);
    if (code >= 0)
        code = avformat_write_header(encoder->format, NULL);
    if (code < 0)
        return fail_av(err, code, "cannot begin an mp4 file");
    return SL_OK;
}

static enum sl_status open_frame(struct dp_encoder *encoder, struct sl_error *err)
{
    encoder->packet = av_packet_alloc();
    AVFrame *frame = encoder->frame = av_frame_alloc();
    if (encoder->packet == NULL || frame == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a video frame");
    frame->format = encoder->codec->pix_fmt;
    frame->width = encoder->codec->width;
    frame->height = encoder->codec->height;
    int code = av_frame_get_buffer(frame, 0);
    return code < 0 ? fail_av(err, code, "cannot allocate a video frame") : SL_OK;
}

enum sl_status dp_encoder_open(struct dp_encoder **ret_encoder, int width, int height, int rate,
        const char *comment, struct sl_error *err)
{
    SL_AUTO(dp_encoder_close_auto) struct dp_encoder *encoder = sl_alloc(1, sizeof *encoder);
    if (encoder == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an encoder");
    enum sl_status s = open_codec(encoder, width, height, rate, err);
    if (s == SL_OK)
        s = open_format(encoder, comment, err);
    if (s == SL_OK)
        s = open_frame(encoder, err);
    if (s == SL_OK)
        *ret_encoder = SL_TAKE(encoder);
    return s;
}

void dp_encoder_close(struct dp_encoder *encoder)
{
    if (encoder == NULL)
        return;
    if (encoder->format != NULL && encoder->format->pb != NULL) {
        uint8_t *unfinished = NULL;
        avio_close_dyn_buf(encoder->format->pb, &unfinished);
        av_free(unfinished);
    }
    avformat_free_context(encoder->format);
    avcodec_free_context(&encoder->codec);
    av_frame_free(&encoder->frame);
    av_packet_free(&encoder->packet);
    av_free(encoder->bytes);
    sl_free(encoder);
}

void dp_encoder_close_auto(struct dp_encoder **encoder)
{
    dp_encoder_close(*encoder);
}

enum sl_status dp_encoder_planes(
        struct dp_encoder *encoder, uint8_t *ret_planes[3], int ret_strides[3], struct sl_error *err)
{
    int code = av_frame_make_writable(encoder->frame); /* the encoder may still hold the last one */
    if (code < 0)
        return fail_av(err, code, "cannot allocate a video frame");
    for (int i = 0; i < 3; i++) {
        ret_planes[i] = encoder->frame->data[i];
        ret_strides[i] = encoder->frame->linesize[i];
    }
    return SL_OK;
}

/* Sends a frame, or NULL for the end, and writes the packets that come out. */
static enum sl_status send(struct dp_encoder *encoder, const AVFrame *frame, struct sl_error *err)
{
    int code = avcodec_send_frame(encoder->codec, frame);
    while (code >= 0) {
        code = avcodec_receive_packet(encoder->codec, encoder->packet);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF)
            return SL_OK;
        if (code < 0)
            break;
        encoder->packet->stream_index = encoder->stream->index;
        encoder->packet->duration = 1;
        av_packet_rescale_ts(encoder->packet, encoder->codec->time_base, encoder->stream->time_base);
        code = av_interleaved_write_frame(encoder->format, encoder->packet); /* takes the packet's content */
    }
    return fail_av(err, code, "cannot encode a video frame");
}

enum sl_status dp_encoder_push(struct dp_encoder *encoder, struct sl_error *err)
{
    encoder->frame->pts = encoder->frames++;
    return send(encoder, encoder->frame, err);
}

enum sl_status dp_encoder_finish(
        struct dp_encoder *encoder, const uint8_t **ret_bytes, size_t *ret_size, struct sl_error *err)
{
    enum sl_status s = send(encoder, NULL, err);
    if (s != SL_OK)
        return s;
    int code = av_write_trailer(encoder->format);
    if (code < 0)
        return fail_av(err, code, "cannot end an mp4 file");
    int size = avio_close_dyn_buf(encoder->format->pb, &encoder->bytes);
    encoder->format->pb = NULL;
    if (size <= 0 || encoder->bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an mp4 file");
    *ret_bytes = encoder->bytes;
    *ret_size = (size_t)size;
    return SL_OK;
}

bool dp_encoder_made(const char *path, const char *comment, int frames)
{
    AVFormatContext *format = NULL;
    SL_AUTO(av_dict_free) AVDictionary *options = NULL;
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    SL_AUTO_FREE char *address =
            sl_strdup_printf("file:%s", path); /* a colon in the path is not a protocol */
    if (address == NULL || avformat_open_input(&format, address, NULL, &options) < 0)
        return false;
    const AVDictionaryEntry *entry = av_dict_get(format->metadata, "comment", NULL, 0);
    bool made = entry != NULL && strcmp(entry->value, comment) == 0 && format->nb_streams == 1 &&
                format->streams[0]->nb_frames == frames;
    avformat_close_input(&format);
    return made;
}
