"""Reading and writing video with sound, on one clock.

The clock of every function here is the video's: zero is the instant its first frame is shown. Sound is placed on that
clock, so a start offset of either stream in the container never becomes a shift. Pictures come upright and with square
pixels, as uint8 RGB ``[height, width, 3]``; sound comes as float32 mono in [-1, 1].
"""

from mova_core.data.media.clips import read_clip, write_clip
from mova_core.data.media.opening import MediaError
from mova_core.data.media.probing import MediaProbe, probe, read_tags
from mova_core.data.media.reading import TimedFrame, frames_on_grid, iter_frames, read_audio
from mova_core.data.media.writing import AudioCodec, MediaWriter, exact_rate

__all__ = [
    "AudioCodec",
    "MediaError",
    "MediaProbe",
    "MediaWriter",
    "TimedFrame",
    "exact_rate",
    "frames_on_grid",
    "iter_frames",
    "probe",
    "read_audio",
    "read_clip",
    "read_tags",
    "write_clip",
]
