# vadpipe with every extractor, every decoder and Ray, for a machine with an NVIDIA driver (a CPU works too, slower):
#   docker build --tag vadpipe .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" \
#     -v "$HOME/.cache/vadpipe/weights:/weights" -v "$PWD:/data" vadpipe detect clip.mp4
# --user makes the results yours. Without it the container's own user needs to be let into the two folders.
#
# The base image is CUDA's `base`, not `runtime`: torch's wheels bring cuBLAS, cuDNN, NCCL, NVRTC and the rest
# themselves, and `runtime` would only lay a second copy beside them. What `base` gives is the agreement with the driver
# (which CUDA it must offer, forward compatibility). CUDA 13.0.2 is what torch 2.11.0 is built with; Ubuntu
# 24.04 brings Python 3.12 and FFmpeg 6. `make pin-base` adds the digest of the base image behind its tag.

FROM nvidia/cuda:13.0.2-base-ubuntu24.04 AS python
# Versions of Ubuntu's packages are not pinned: its archive keeps only the newest, so a pin breaks with the next fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# Dependencies before the source: an edit of the source leaves these gigabytes cached. Every file that is downloaded has
# its digest in locks/; no build fetches anything of its own.
FROM python AS dependencies
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
WORKDIR /src
COPY locks/build.txt locks/image.txt ./locks/
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes --requirement locks/build.txt \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-build-isolation --requirement locks/image.txt

FROM dependencies AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY vadpipe ./vadpipe
RUN /opt/venv/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python AS runtime
# FFmpeg's shared libraries: torchcodec loads the system's; PyAV and decord bring their own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=wheel /wheels /wheels
RUN /opt/venv/bin/pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
    && /opt/venv/bin/pip check

# What is in the image: Python's and Ubuntu's packages (CycloneDX 1.6). After the last installation.
COPY tools/sbom.py /usr/share/vadpipe/sbom.py
RUN /opt/venv/bin/python /usr/share/vadpipe/sbom.py --out /usr/share/vadpipe/sbom.cdx.json
LABEL org.opencontainers.image.title="vadpipe" \
    org.opencontainers.image.licenses="Apache-2.0" \
    vadpipe.sbom="/usr/share/vadpipe/sbom.cdx.json"

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
