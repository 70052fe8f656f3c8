"""HyDiscGAN: audio and vision are generated from the text, which alone is needed in the end."""

from msajax.models.hydiscgan.system import HyDiscGAN as HyDiscGAN
