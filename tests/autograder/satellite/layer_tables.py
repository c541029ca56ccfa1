"""Tables of layers as people write them."""

import torch


def table(
    model, size, *, leaf=True, remove=True, before=False, every=False, twice=False, buffers=False, mode="each", frozen=False, trained=False
):
    """Rows of the layers that run, with one thing done otherwise."""
    rows, hooks, seen, modes = [], [], set(), [(module, module.training) for module in model.modules()]

    def hook(name):
        def note(module, inputs, output):
            tensors = module.state_dict().values() if buffers else module.parameters(recurse=False)
            counted = [tensor for tensor in tensors if tensor.requires_grad or not trained]
            count = sum(tensor.numel() for tensor in counted) if twice or module not in seen else 0
            rows.append((name, tuple((inputs[0] if before else output).shape), count))
            seen.add(module)

        return note

    for name, module in model.named_modules(remove_duplicate=not every):
        if not (leaf and [*module.children()]):
            hooks.append(module.register_forward_hook(hook(name)))
    if mode != "train":
        model.eval()
    with torch.no_grad():
        model(torch.zeros((1, *size)))
    for one in hooks if remove else ():
        one.remove()
    if mode == "each":
        for module, training in modes:
            module.training = training
    if mode == "whole":
        model.train(modes[0][1])
    for parameter in model.parameters() if frozen else ():
        parameter.requires_grad_(False)
    return rows
