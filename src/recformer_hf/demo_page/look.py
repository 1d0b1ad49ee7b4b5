"""How the page looks, and the few lines of script that pass clicks on."""

from __future__ import annotations

# Colours are those of Gradio, so that its dark mode holds for the lists too. Explanations keep their white ground.
STYLE = """
.rf-list { list-style: none; margin: 0; padding: 0; font-size: 16px; line-height: 1.4; }
.rf-list > li { border-top: 1px solid var(--border-color-primary); padding: 8px 0; }
.rf-list > li:first-child { border-top: 0; }
.rf-row { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 10px; }
.rf-text { flex: 1 1 180px; min-width: 0; overflow-wrap: anywhere; color: var(--body-text-color); }
.rf-more { display: block; font-size: 14px; opacity: .75; }
.rf-score { font-variant-numeric: tabular-nums; color: var(--body-text-color); }
.rf-acts { display: flex; gap: 6px; margin-left: auto; }
.rf-acts button { font: inherit; font-size: 15px; min-height: 36px; padding: 4px 12px; border-radius: 6px;
  cursor: pointer; border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); }
.rf-acts button:hover { background: var(--button-secondary-background-fill-hover); }
.rf-acts button:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
.rf-acts button[aria-expanded=true] { border-color: var(--color-accent); font-weight: 700; }
.rf-own { background: var(--background-fill-secondary); outline: 2px solid var(--color-accent); border-radius: 4px; }
.rf-own .rf-row { padding: 0 8px; }
.rf-open { margin: 8px 0 4px; padding-left: 12px; border-left: 3px solid var(--color-accent); overflow-x: auto; }
.rf-near, .rf-note { font-size: 15px; color: var(--body-text-color); opacity: .8; margin: 4px 0; }
.rf-place { font-size: 17px; margin: 4px 0; color: var(--body-text-color); }
.rf-open .rf-why h3, .rf-open .rf-why h4 { font-weight: 700; }
@media (max-width: 600px) {
  .rf-open { padding-left: 0; border-left: 0; }
  .rf-open .rf-why { padding: 8px 4px; }
  .rf-open .rf-why td.b { display: none; }
  .rf-open .rf-why td.n { width: auto; }
}
"""

# Lists are written anew after each click, so one listener on their container serves all buttons, and the focus of a
# keyboard is given back to the button that was pressed.
SCRIPT = """
let pressed = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  pressed = {act: button.dataset.act, item: button.dataset.item};
  trigger('act', pressed);
});
watch('value', () => {
  if (!pressed) return;
  const same = [...element.querySelectorAll('button[data-act]')].find(
    (each) => each.dataset.act === pressed.act && each.dataset.item === pressed.item);
  if (same) same.focus({preventScroll: true});
  pressed = null;
});
"""

__all__ = ["SCRIPT", "STYLE"]
