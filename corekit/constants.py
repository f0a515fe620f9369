"""Values that several parts share: channel statistics, endings of names, suffixes."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the red, green and blue of CLIP's images
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

IMAGE_EXTENSIONS = "jpg;jpeg;png;webp"  # of members and files that hold a picture
SHARDS = "**/*.tar"  # the pattern of shards' names where none is given
TABLES = (".csv", ".tsv", ".parquet")  # how lists of files end

WRITING = ".writing"  # the suffix of files and folders that are not complete yet
