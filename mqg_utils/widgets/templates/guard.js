// JupyterLab takes keys wherever nobody types text: an arrow leaves a list for the next cell, "dd" deletes the cell.
// Its shortcuts respect the attribute, and its notebook listens where keys bubble to. Escape still leaves the widget.
window.mqgGuard ??= window.addEventListener('keydown', (event) => {
  const widget = event.target.closest?.('.jp-OutputArea .jupyter-widgets');
  if (!widget) return;
  const own = !(event.ctrlKey || event.metaKey || event.key === 'Escape');
  widget.toggleAttribute('data-lm-suppress-shortcuts', own);
  widget.onkeydown = own ? (inside) => inside.stopPropagation() : null;
}, true) ?? true;
