# vadpipe with every extractor and decoder, for a machine with an NVIDIA driver (a CPU works too, slower):
#   docker build --tag vadpipe .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" \
#     -v "$HOME/.cache/vadpipe/weights:/weights" -v "$PWD:/data" vadpipe detect clip.mp4
# --user makes the results yours. Without it the container's own user needs to be let into the two folders.
#
# The base image is CUDA's `base`, not `runtime`: torch's wheels bring cuBLAS, cuDNN, NCCL, NVRTC and the rest
# themselves, and `runtime` would only lay a second copy beside them. What `base` gives is the agreement with the driver
# (which CUDA it must offer, forward compatibility). CUDA 13.0.2 is what torch 2.11.0 is built with; Ubuntu
# 24.04 brings Python 3.12 and FFmpeg 6.

FROM nvidia/cuda:13.0.2-base-ubuntu24.04 AS python
# Versions of Ubuntu's packages are not pinned: its archive keeps only the newest, so a pin breaks with the next fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# Dependencies before the source: an edit of the source leaves these gigabytes cached. Without a package folder beside
# it, pyproject.toml installs the dependencies and an empty vadpipe, which goes again.
FROM python AS dependencies
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
ARG EXTRAS=audio,decord,tensorboard,torchcodec,video3d
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt setuptools \
    && /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt --no-build-isolation ".[${EXTRAS}]" \
    && /opt/venv/bin/pip uninstall --yes vadpipe

FROM dependencies AS wheel
COPY vadpipe ./vadpipe
RUN /opt/venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python AS runtime
# FFmpeg's shared libraries: torchcodec loads the system's; PyAV and decord bring their own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=wheel /wheels /wheels
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

# `video` lets the driver's decoder library into the container, for decoding on the GPU.
# HOME and USER: libraries keep small caches, which has to work under any --user, an unknown one too.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    VADPIPE_WEIGHTS=/weights \
    HOME=/tmp \
    USER=vadpipe

# /weights: encoder weights, downloaded once. /data: videos, and the features and runs that come of them.
RUN useradd --no-log-init --uid 10001 vadpipe \
    && install --directory --owner=10001 --group=10001 /weights /data
VOLUME ["/weights", "/data"]
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["vadpipe"]
CMD ["--help"]
