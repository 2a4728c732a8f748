def edit(tree, site, changes, path):
    raise NotImplementedError
