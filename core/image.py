"""Images of handwriting: any common file, array or Pillow image in, ink bright on black out.

Two steps, both public: `read_gray` decodes (file format, alpha, palette, depth, orientation, size
limits) and `find_ink` tells ink from paper (polarity, uneven light, contrast, noise).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, ImageFilter, JpegImagePlugin
from PIL import PngImagePlugin, WebPImagePlugin

from .errors import InputError

ByteImage = NDArray[np.uint8]
FloatImage = NDArray[np.float32]
