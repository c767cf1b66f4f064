# The names that _reading re-exports; lazy_loader imports each on first use.

from .arrays import read_arrays, read_safetensors
from .documents import MOST_PLAIN_VALUES, parse_plain_yaml, read_json_object
from .formats import refuse_other_formats
from .regular_files import check_expansion, check_regular, is_file, is_folder, list_folder, read_content
from .shown_text import show_text, show_texts

__all__ = [
    "MOST_PLAIN_VALUES",
    "check_expansion",
    "check_regular",
    "is_file",
    "is_folder",
    "list_folder",
    "parse_plain_yaml",
    "read_arrays",
    "read_content",
    "read_json_object",
    "read_safetensors",
    "refuse_other_formats",
    "show_text",
    "show_texts",
]
