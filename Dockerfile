# mu-monai with the versions that the tests run with; see docs/how-to/install.md.
#   docker build --tag mu-monai .                                                                       for CPUs
#   docker build --tag mu-monai:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .   for GPUs, by the CUDA version
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/mu_monai
COPY requirements.lock ./
RUN grep '^torch==' requirements.lock > torch.txt \
    && pip install --no-cache-dir --index-url "${TORCH_INDEX}" --requirement torch.txt \
    && pip install --no-cache-dir --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY mu_monai mu_monai
COPY bundles bundles
RUN pip install --no-cache-dir --no-deps .
# images and runs are mounted here, and belong to whoever runs the container
WORKDIR /work
RUN useradd --create-home unlearner && chown unlearner /work
USER unlearner
ENTRYPOINT ["mu-monai"]
CMD ["--help"]
