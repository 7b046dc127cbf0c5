# Trunkcall with its command as the entry point: docker run -p 8000:8000 -e TRUNKCALL_KEY=… IMAGE
FROM python:3.13-slim AS base

# llama.cpp's wheel needs the system's OpenMP library.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/trunkcall
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir hatchling && pip install --no-cache-dir --no-deps --no-build-isolation .

RUN useradd --create-home --uid 1000 trunkcall && install -d -o trunkcall /data
USER trunkcall
ENV TRUNKCALL_HOME=/data HF_HOME=/data/huggingface TRUNKCALL_KEYS=env:TRUNKCALL_KEY
VOLUME /data
WORKDIR /home/trunkcall
EXPOSE 8000
# Docker knows 0 and 1 only.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --start-interval=1s CMD trunkcall status >/dev/null || exit 1
ENTRYPOINT ["trunkcall"]
# A key is needed outside loopback: set TRUNKCALL_KEY.
CMD ["up", "--host", "0.0.0.0"]

# What stands in for the image of text-generation-inference: docker build --target tgi --build-arg EXTRAS=vllm .
FROM base AS tgi
ARG EXTRAS=
# Root, as in TGI's image: caches that it left in /data belong to root.
USER root
WORKDIR /opt/trunkcall
RUN if [ -n "$EXTRAS" ]; then pip install --no-cache-dir ".[$EXTRAS]"; fi
COPY docker/entrypoint-tgi.sh /usr/local/bin/
ENV TRUNKCALL_HOME=/var/lib/trunkcall HF_HOME= TRUNKCALL_KEYS= PORT=80 HUGGINGFACE_HUB_CACHE=/data
WORKDIR /root
EXPOSE 80
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --start-interval=1s \
    CMD python -c "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=5)"
ENTRYPOINT ["entrypoint-tgi.sh"]
CMD ["--json-output"]

FROM base
