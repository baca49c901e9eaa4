"""Between pixels, samples, words and the latents the model works on."""
