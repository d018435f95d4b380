/* format.h: "mopt.format/1", a container of tensors: opened, read in any order, written in any
 * order.
 *
 * A reader presents a checkpoint the way Hugging Face names it: tensor names, row order and texts
 * ("config.json", "tokenizer.json"); a container with another convention translates. */
#ifndef MOPT_FORMAT_H
#define MOPT_FORMAT_H

#include "mopt/plugin.h"

#define MOPT_FORMAT_INTERFACE "mopt.format/1"

/* What only `open` says, beside the codes of base.h. */
enum {
  MOPT_EXECUTABLE = 64, /* reading the file would run code from it, as with a pickle; never done */
  MOPT_OUTSIDE = 65     /* the checkpoint names a file outside of its own directory; not opened */
};

/* A tensor of an open container. Everything lives until close. */
typedef struct mopt_stored_tensor {
  uint32_t struct_size;
  DLDataType dtype; /* as presented; quantized blocks of a container present as the model's type */
  mopt_str name;
  mopt_str encoding; /* the container's own type name: "BF16", "Q4_1" */
  const int64_t* shape;
  int32_t ndim;
  uint32_t file;    /* index into the container's files */
  uint64_t offset;  /* in that file, bytes */
  uint64_t nbytes;  /* as stored */
  const void* data; /* the stored bytes, mapped read-only */
  int32_t plain;    /* 1: data holds dtype in row-major order and may be used as it is */
  uint32_t reserved0;
} mopt_stored_tensor;
MOPT_STATIC_ASSERT(sizeof(mopt_stored_tensor) == 88);

typedef uint32_t mopt_write_flags;
enum {
  MOPT_WRITE_RESUME = 1 /* the files of an interrupted run with the same plan are continued */
};

typedef struct mopt_write_plan {
  uint32_t struct_size;
  mopt_write_flags flags;
  mopt_str directory;
  const mopt_tensor_decl*
      tensors; /* everything that will be written; fixes names, order, offsets */
  uint64_t n_tensors;
  uint64_t shard_bytes; /* no file holds more data, unless one tensor does; 0: no limit */
} mopt_write_plan;
MOPT_STATIC_ASSERT(sizeof(mopt_write_plan) == 48);

typedef struct mopt_format {
  uint32_t struct_size;
  uint32_t reserved0;
  /* 0: not mine; higher wins. `head` is the start of the file (n may be 0 for a directory). [load]
   */
  int32_t (*probe)(mopt_str path, const uint8_t* head, uint64_t n) MOPT_NOEXCEPT;
  mopt_error* (*open)(const mopt_host*, mopt_str path, mopt_instance** out)MOPT_NOEXCEPT;
  void (*close)(mopt_instance*) MOPT_NOEXCEPT;
  uint64_t (*count)(mopt_instance*) MOPT_NOEXCEPT; /* [concurrent] */
  mopt_error* (*tensor)(mopt_instance*, uint64_t index, mopt_stored_tensor* out)MOPT_NOEXCEPT;
  uint64_t (*n_files)(mopt_instance*) MOPT_NOEXCEPT;
  mopt_str (*file)(mopt_instance*, uint64_t index) MOPT_NOEXCEPT; /* its path */
  /* A text by its Hugging Face name, empty when the container has none; [concurrent]. */
  mopt_str (*document)(mopt_instance*, mopt_str name) MOPT_NOEXCEPT;
  /* The container's metadata as JSON text. */
  mopt_str (*metadata)(mopt_instance*) MOPT_NOEXCEPT;
  /* Rows [begin, end) of the first axis, decoded to out's type: the presented one or f32. A tensor
   * without axes has one row. [concurrent] */
  mopt_error* (*read)(mopt_instance*, const mopt_exec*, uint64_t index, int64_t begin, int64_t end,
                      DLTensor* out)MOPT_NOEXCEPT;
  /* Advice: soon needed; no longer needed (its pages leave this process's memory). [concurrent] */
  void (*prefetch)(mopt_instance*, uint64_t index) MOPT_NOEXCEPT;
  void (*release)(mopt_instance*, uint64_t index) MOPT_NOEXCEPT;

  /* Writing; NULL in a format that only reads. Files carry a name that no engine loads until
   * commit. [serial] */
  mopt_error* (*create)(const mopt_host*, const mopt_write_plan*, mopt_instance** out)MOPT_NOEXCEPT;
  /* Exact size of all files that create would make. */
  mopt_error* (*predict)(const mopt_write_plan*, uint64_t* bytes)MOPT_NOEXCEPT;
  /* Bytes [offset, offset + nbytes) of the tensor's data. [concurrent] */
  mopt_error* (*write)(mopt_instance*, mopt_str name, uint64_t offset, const void* data,
                       uint64_t nbytes)MOPT_NOEXCEPT;
  /* Everything written before the call reaches the disk; writes may go on meanwhile. */
  mopt_error* (*sync)(mopt_instance*)MOPT_NOEXCEPT;
  /* Gives the files their final names and writes the index; every tensor must have been written. */
  mopt_error* (*commit)(mopt_instance*)MOPT_NOEXCEPT;
  void (*discard)(mopt_instance*) MOPT_NOEXCEPT; /* frees a writer; files stay as they are */
} mopt_format;
MOPT_STATIC_ASSERT(sizeof(mopt_format) == 152);

#endif
