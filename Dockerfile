# `elektron serve` on CPUs. Build it in this folder; run it with a model's folder mounted at /model:
#   docker build -t elektron-serve .
#   docker run --read-only --tmpfs /tmp -v "$PWD/model:/model:ro" -p 127.0.0.1:8000:8000 elektron-serve
FROM python:3.11-slim
RUN pip install --no-cache-dir 'torch==2.13.*' --index-url https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir '.[serve]' && useradd --create-home elektron
USER elektron
WORKDIR /home/elektron
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["elektron", "serve"]
# Inside the container every address is needed; who reaches it from outside is for `docker run -p` to say.
CMD ["/model", "--host", "0.0.0.0"]
