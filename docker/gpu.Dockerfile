# Everything on NVIDIA GPUs: indexes, locates and serves. From the root of the repository:
#   docker build --file docker/gpu.Dockerfile --tag progeo:0.1.0-gpu .
# PyTorch's packages bring CUDA; the machine has the driver and the NVIDIA container toolkit.
FROM python:3.12.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/progeo
ENV PATH=/opt/progeo/bin:$PATH
COPY constraints.txt pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --constraint /build/constraints.txt "/build[rerank,serve,shards,store]"

FROM python:3.12.12-slim-bookworm
RUN useradd --uid 10001 --create-home progeo && install --directory --owner progeo /database /weights
COPY --from=build /opt/progeo /opt/progeo
ENV PATH=/opt/progeo/bin:$PATH PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/weights TORCH_HOME=/weights/torch
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /home/progeo
VOLUME ["/database", "/weights"]
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=10m --start-interval=2s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/api/ready', timeout=4)"]
ENTRYPOINT ["progeo"]
CMD ["serve", "--database", "/database", "--host", "0.0.0.0", "--device", "cuda", "--precision", "half"]
