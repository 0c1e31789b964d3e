/* See frames.h. */
#include "worker/dataset/frames.h"

#include "common/file.h"
#include "common/memory.h"

#include <png.h>
#include <string.h>
#include <turbojpeg.h>

static void destroy_jpeg(tjhandle *handle)
{
    if (*handle != NULL)
        (void)tjDestroy(*handle);
}

static void free_jpeg(unsigned char **bytes)
{
    tjFree(*bytes);
}

enum sl_status wk_jpeg_encode(uint8_t **ret_bytes, size_t *ret_size, const uint8_t *pixels, int side,
        int quality, struct sl_error *err)
{
    SL_AUTO(destroy_jpeg) tjhandle handle = tjInitCompress();
    SL_AUTO(free_jpeg) unsigned char *jpeg = NULL;
    unsigned long size = 0;
    if (handle == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a JPEG encoder");
    if (tjCompress2(handle, pixels, side, 0, side, TJPF_RGB, &jpeg, &size, TJSAMP_444, quality,
                TJFLAG_ACCURATEDCT) != 0)
        return sl_fail(err, SL_FAILED, "a frame cannot be stored as JPEG: %s", tjGetErrorStr2(handle));
    uint8_t *bytes = sl_alloc(size, 1);
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    memcpy(bytes, jpeg, size);
    *ret_bytes = bytes;
    *ret_size = size;
    return SL_OK;
}

enum sl_status wk_jpeg_decode(
        uint8_t *ret_pixels, const uint8_t *bytes, size_t size, int side, struct sl_error *err)
{
    SL_AUTO(destroy_jpeg) tjhandle handle = tjInitDecompress();
    if (handle == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a JPEG decoder");
    int width = 0, height = 0, sampling = 0, space = 0;
    if (tjDecompressHeader3(handle, bytes, size, &width, &height, &sampling, &space) != 0)
        return sl_fail(err, SL_BAD_DATA, "a stored JPEG frame is damaged: %s", tjGetErrorStr2(handle));
    if (width != side || height != side)
        return sl_fail(
                err, SL_BAD_DATA, "a stored JPEG frame is %dx%d, expected %dx%d", width, height, side, side);
    if (tjDecompress2(handle, bytes, size, ret_pixels, side, 0, side, TJPF_RGB, TJFLAG_ACCURATEDCT) != 0)
        return sl_fail(err, SL_BAD_DATA, "a stored JPEG frame is damaged: %s", tjGetErrorStr2(handle));
    return SL_OK;
}

enum sl_status wk_png_write(
        const char *path, const uint8_t *pixels, int width, int height, struct sl_error *err)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
            .width = (png_uint_32)width,
            .height = (png_uint_32)height,
            .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = 0;
    if (!png_image_write_get_memory_size(image, size, 0, pixels, 0, NULL))
        return sl_fail(err, SL_FAILED, "cannot make a PNG for %s: %s", path, image.message);
    SL_AUTO_FREE void *bytes = sl_alloc(size, 1);
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (!png_image_write_to_memory(&image, bytes, &size, 0, pixels, 0, NULL))
        return sl_fail(err, SL_FAILED, "cannot make a PNG for %s: %s", path, image.message);
    return sl_file_write_atomic(path, bytes, size, err);
}

int wk_choose_evenly(int k, int chosen, int count)
{
    if (chosen >= count)
        return k;
    return (int)(((int64_t)2 * k + 1) * count / (2 * (int64_t)chosen)); /* the middle of the k-th part */
}
